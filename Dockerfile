# The page in a container: docker build --tag captioner . && docker run --rm --publish 127.0.0.1:8501:8501 captioner
# then http://localhost:8501. Before others may reach it, docs/serving.md says what belongs in front of it.
FROM python:3.11-slim

# First, so that a change of the code does not install TensorFlow anew.
COPY requirements.txt /app/
RUN pip install --no-cache-dir --requirement /app/requirements.txt \
    && useradd --uid 10001 --create-home captioner

# What the image needs and nothing else: see .dockerignore. It belongs to root, so the page cannot change itself.
COPY . /app/
WORKDIR /app
USER 10001

# Within the container, since from outside nobody reaches its localhost; --publish says who may reach the container.
ENV STREAMLIT_SERVER_ADDRESS=0.0.0.0 STREAMLIT_SERVER_HEADLESS=true PYTHONDONTWRITEBYTECODE=1
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://localhost:8501/_stcore/health', timeout=5)"]
CMD ["streamlit", "run", "app.py", "--server.port=8501"]
