"""Drawn scenes as pictures: where each thing stands, what it looks like, and what is behind it.

Shapes are drawn at three times their size and shrunk, so that edges are smooth; light falls from the top
left. Colours, places, sizes and angles vary a little from picture to picture. No TensorFlow here.
"""

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from captioner.data.drawings import scenes

# The side that the encoders take, so that drawings pass unchanged.
IMAGE_SIZE = 224
_OVERSAMPLING = 3
_RGB = {
    "red": (222, 42, 40),
    "yellow": (250, 205, 30),
    "green": (38, 150, 62),
    "blue": (38, 92, 215),
    "black": (34, 34, 38),
}
# Top and bottom of each background.
_BACKDROPS = {
    "white": ((252, 252, 250), (236, 236, 234)),
    "grey": ((190, 192, 196), (158, 160, 166)),
    "pink": ((255, 222, 228), (246, 188, 202)),
    "sky": ((126, 192, 240), (206, 232, 250)),
    "grass": ((172, 216, 122), (112, 178, 74)),
    "night": ((14, 20, 52), (40, 46, 96)),
}
# Radius in pixels by size.
_RADII = {"small": 25.0, "medium": 35.0, "big": 49.0}
_MARGIN = 8
_UPRIGHT = ("house", "boat", "flower", "tree", "fish", "car", "moon")
_BROWN = (112, 74, 44)

Point = tuple[float, float]
Colour = tuple[int, int, int]


def draw_scene(scene: scenes.Scene, seed: int = 0) -> Image.Image:
    """Draws a scene.

    Args:
        scene: What to show.
        seed: The same seed and scene give the same picture.

    Returns:
        An RGB picture, `IMAGE_SIZE` on each side.
    """
    return _draw(scene, seed)[0]


def locate_things(scene: scenes.Scene, seed: int = 0) -> list[tuple[scenes.Group, Point, float]]:
    """Returns of each thing in a scene's picture its group, and its centre `(x, y)` and radius in pixels."""
    return _draw(scene, seed)[1]


def _draw(scene: scenes.Scene, seed: int) -> tuple[Image.Image, list[tuple[scenes.Group, Point, float]]]:
    rng = random.Random(f"picture {seed} {scene.image_id}")
    noise = np.random.default_rng(rng.getrandbits(64))
    picture, things = _draw_backdrop(scene.background, rng, noise), []
    for group, box in zip(scene.groups, _place_groups(scene), strict=True):
        for centre, radius in _place_things(group, box, rng):
            _paste_thing(picture, group, centre, radius, rng)
            things.append((group, centre, radius))
    grain = noise.normal(0.0, 2.5, (IMAGE_SIZE, IMAGE_SIZE, 1))
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)), things


def _place_groups(scene: scenes.Scene) -> list[tuple[float, float, float, float]]:
    """Returns the box (left, top, right, bottom) of each group."""
    near, half, far = _MARGIN, IMAGE_SIZE / 2, IMAGE_SIZE - _MARGIN
    boxes = {
        "left": (near, near, half, far),
        "right": (half, near, far, far),
        "above": (near, near, far, half),
        "below": (near, half, far, far),
    }
    if len(scene.groups) == 2:
        return [boxes[scene.place], boxes[scenes.OPPOSITES[scene.place]]]
    boxes |= {"top": boxes["above"], "bottom": boxes["below"], "row": (near, half / 2, far, half * 3 / 2)}
    return [boxes.get(scene.place, (half / 2, half / 2, half * 3 / 2, half * 3 / 2))]


def _place_things(
    group: scenes.Group, box: tuple[float, float, float, float], rng: random.Random
) -> list[tuple[Point, float]]:
    """Lines things up along the longer side of a box: centres and radii, each inside its own stretch."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    along = width >= height
    step = max(width, height) / group.count
    room = min(step, width, height) / 2
    radius = min(_RADII[group.size] * rng.uniform(0.92, 1.08), room - 3)
    placed = []
    for number in range(group.count):
        # A lone thing may stray along the box too, but not so far that another side would be named.
        stray_along = min(step / 2 - radius - 2, 16)
        stray_across = min(min(width, height) / 2 - radius - 1, 12)
        a = (number + 0.5) * step + rng.uniform(-stray_along, stray_along)
        b = min(width, height) / 2 + rng.uniform(-stray_across, stray_across)
        placed.append(((left + a, top + b) if along else (left + b, top + a), radius))
    return placed


def _paste_thing(picture: Image.Image, group: scenes.Group, centre: Point, radius: float, rng: random.Random) -> None:
    """Draws one thing with its shadow onto the picture."""
    # On black, as much would show as a tint.
    colour = _vary(_RGB[group.colour], rng, 3 if group.colour == "black" else 10)
    tilt = rng.uniform(-4, 4) if group.noun in _UPRIGHT else rng.uniform(-14, 14)
    thing = _draw_thing(group.noun, colour, radius, tilt)
    corner = (round(centre[0] - thing.width / 2), round(centre[1] - thing.height / 2))
    alpha = Image.new("L", picture.size)
    alpha.paste(thing.getchannel("A"), (corner[0] + 3, corner[1] + 4))
    shadow = alpha.filter(ImageFilter.GaussianBlur(3)).point(lambda value: value * 0.35)
    picture.paste((0, 0, 0), mask=shadow)
    picture.paste(thing, corner, thing)


def _draw_thing(noun: str, colour: Colour, radius: float, tilt: float) -> Image.Image:
    """Draws a thing on a transparent square a little larger than itself, lit from the top left."""
    side = math.ceil(2 * radius * 1.25)
    large = side * _OVERSAMPLING
    layer = Image.new("RGBA", (large, large), (*colour, 0))
    _SHAPES[noun](_Brush(layer, radius * _OVERSAMPLING, tilt), colour)
    layer = layer.resize((side, side), Image.Resampling.BOX)
    steps = np.linspace(-1.0, 1.0, side)
    light = 1.0 - 0.11 * (steps[:, None] + steps[None, :])
    pixels = np.asarray(layer).astype(np.float64)
    pixels[..., :3] *= light[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


class _Brush:
    """Draws in units of a thing's radius, with the origin in its middle and y downwards, tilted."""

    def __init__(self, layer: Image.Image, unit: float, tilt: float):
        self._draw = ImageDraw.Draw(layer)
        self._middle = layer.width / 2
        self._right = (unit * math.cos(math.radians(tilt)), unit * math.sin(math.radians(tilt)))

    def polygon(self, points: list[Point], colour: Colour) -> None:
        self._draw.polygon([self._locate(point) for point in points], fill=colour)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def circle(self, x: float, y: float, radius: float, colour: Colour) -> None:
        self._draw.circle(self._locate((x, y)), radius * math.hypot(*self._right), fill=colour)

    def _locate(self, point: Point) -> Point:
        """Maps units to pixels of the layer."""
        (x, y), (cosine, sine) = point, self._right
        return self._middle + x * cosine - y * sine, self._middle + x * sine + y * cosine


def _draw_circle(brush: _Brush, colour: Colour) -> None:
    brush.circle(0, 0, 0.95, colour)


def _draw_square(brush: _Brush, colour: Colour) -> None:
    brush.rectangle(-0.8, -0.8, 0.8, 0.8, colour)


def _draw_triangle(brush: _Brush, colour: Colour) -> None:
    brush.polygon([(0, -0.95), (1, 0.78), (-1, 0.78)], colour)


def _draw_star(brush: _Brush, colour: Colour) -> None:
    angles = [math.pi * (0.2 * corner - 0.5) for corner in range(10)]
    lengths = [1.05 if corner % 2 == 0 else 0.44 for corner in range(10)]
    brush.polygon([(r * math.cos(a), r * math.sin(a)) for r, a in zip(lengths, angles, strict=True)], colour)


def _draw_heart(brush: _Brush, colour: Colour) -> None:
    turns = [2 * math.pi * step / 60 for step in range(60)]
    xs = [math.sin(t) ** 3 for t in turns]
    ys = [-(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16 for t in turns]
    brush.polygon([(x, y * 0.98 - 0.06) for x, y in zip(xs, ys, strict=True)], colour)


def _draw_house(brush: _Brush, colour: Colour) -> None:
    brush.rectangle(0.32, -0.85, 0.54, -0.2, _blend(colour, _BROWN, 0.7))
    brush.rectangle(-0.72, -0.15, 0.72, 0.9, colour)
    brush.polygon([(0, -0.95), (1, -0.1), (-1, -0.1)], _blend(colour, (0, 0, 0), 0.35))
    brush.rectangle(-0.5, 0.12, -0.1, 0.5, (255, 246, 205))
    brush.rectangle(0.14, 0.2, 0.48, 0.9, _BROWN)


def _draw_boat(brush: _Brush, colour: Colour) -> None:
    brush.rectangle(-0.05, -1, 0.05, 0.35, _BROWN)
    brush.polygon([(0.1, -0.95), (0.85, 0.25), (0.1, 0.25)], _blend(colour, (255, 255, 255), 0.25))
    brush.polygon([(-0.1, -0.75), (-0.1, 0.25), (-0.7, 0.25)], _blend(colour, (255, 255, 255), 0.25))
    brush.polygon([(-1.05, 0.36), (1.05, 0.36), (0.68, 0.9), (-0.68, 0.9)], colour)


def _draw_flower(brush: _Brush, colour: Colour) -> None:
    brush.rectangle(-0.05, 0, 0.05, 1.05, (84, 132, 66))
    brush.polygon([(0, 0.95), (0.2, 0.66), (0.5, 0.62), (0.3, 0.86)], (84, 132, 66))
    for petal in range(6):
        angle = 2 * math.pi * petal / 6
        brush.circle(0.42 * math.cos(angle), -0.3 + 0.42 * math.sin(angle), 0.3, colour)
    brush.circle(0, -0.3, 0.22, (255, 244, 214))


def _draw_tree(brush: _Brush, colour: Colour) -> None:
    brush.polygon([(-0.13, 0), (0.13, 0), (0.2, 1), (-0.2, 1)], _BROWN)
    for x, y, radius in ((-0.42, 0, 0.42), (0.42, 0, 0.42), (0, -0.48, 0.5), (0, -0.05, 0.46)):
        brush.circle(x, y, radius, colour)


def _draw_fish(brush: _Brush, colour: Colour) -> None:
    darker = _blend(colour, (0, 0, 0), 0.25)
    brush.polygon([(0.4, 0), (1.05, -0.52), (0.9, 0), (1.05, 0.52)], darker)
    brush.polygon([(-0.35, -0.35), (0.1, -0.78), (0.35, -0.25)], darker)
    turns = [2 * math.pi * step / 60 for step in range(60)]
    brush.polygon([(0.85 * math.cos(t) - 0.2, 0.5 * math.sin(t)) for t in turns], colour)
    brush.circle(-0.68, -0.12, 0.12, (255, 255, 255))
    brush.circle(-0.7, -0.12, 0.06, (20, 20, 20))


def _draw_car(brush: _Brush, colour: Colour) -> None:
    brush.polygon([(-0.62, -0.1), (-0.4, -0.62), (0.34, -0.62), (0.66, -0.1)], colour)
    brush.polygon([(-0.46, -0.12), (-0.31, -0.48), (-0.05, -0.48), (-0.05, -0.12)], (226, 240, 248))
    brush.polygon([(0.06, -0.12), (0.06, -0.48), (0.27, -0.48), (0.48, -0.12)], (226, 240, 248))
    brush.polygon([(-1, -0.12), (0.9, -0.12), (1.03, 0.08), (1.03, 0.42), (-1.03, 0.42), (-1.03, 0)], colour)
    for x in (-0.55, 0.55):
        brush.circle(x, 0.42, 0.27, (48, 48, 52))
        brush.circle(x, 0.42, 0.12, (214, 214, 218))


def _draw_moon(brush: _Brush, colour: Colour) -> None:
    # The outer edge is a circle, the inner one the part of a second circle, further right, that lies in it.
    outer = [math.radians(degrees) for degrees in range(50, 311, 4)]
    inner = [math.radians(degrees) for degrees in range(274, 85, -4)]
    depth = math.sin(math.radians(50))
    points = [(math.cos(a) + 0.25, math.sin(a)) for a in outer]
    points += [(0.62 * math.cos(a) + math.cos(math.radians(50)) + 0.25, depth * math.sin(a)) for a in inner]
    brush.polygon(points, colour)


_SHAPES: dict[str, Callable[[_Brush, Colour], None]] = {
    "circle": _draw_circle,
    "square": _draw_square,
    "triangle": _draw_triangle,
    "star": _draw_star,
    "heart": _draw_heart,
    "house": _draw_house,
    "boat": _draw_boat,
    "flower": _draw_flower,
    "tree": _draw_tree,
    "fish": _draw_fish,
    "car": _draw_car,
    "moon": _draw_moon,
}


def _draw_backdrop(background: str, rng: random.Random, noise: np.random.Generator) -> Image.Image:
    """A gradient from top to bottom with faint mottling, and clouds, blades or points of light where due."""
    top, bottom = (np.array(_vary(colour, rng, 5), dtype=np.float64) for colour in _BACKDROPS[background])
    share = np.linspace(0.0, 1.0, IMAGE_SIZE)[:, None, None]
    spots = Image.fromarray(noise.normal(0.0, 4.0, (9, 9)).astype(np.float32))
    mottle = np.asarray(spots.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))[..., None]
    pixels = top * (1 - share) + bottom * share + mottle
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    details = {"sky": _add_clouds, "grass": _add_blades, "night": _add_lights}
    if background in details:
        details[background](picture, rng)
    return picture


def _add_clouds(picture: Image.Image, rng: random.Random) -> None:
    veil = Image.new("L", picture.size)
    draw = ImageDraw.Draw(veil)
    for _ in range(rng.randint(3, 4)):
        x, y = rng.uniform(0, IMAGE_SIZE), rng.uniform(10, IMAGE_SIZE - 20)
        for _ in range(6):
            dx, dy, radius = rng.uniform(-34, 34), rng.uniform(-5, 5), rng.uniform(9, 17)
            draw.ellipse((x + dx - 1.4 * radius, y + dy - radius, x + dx + 1.4 * radius, y + dy + radius), fill=190)
    picture.paste((255, 255, 255), mask=veil.filter(ImageFilter.GaussianBlur(6)))


def _add_blades(picture: Image.Image, rng: random.Random) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(420):
        x, y, length = rng.uniform(0, IMAGE_SIZE), rng.uniform(0, IMAGE_SIZE + 8), rng.uniform(4, 9)
        shade = _blend((88, 156, 58), (196, 226, 134), rng.random() * 0.8)
        draw.line((x, y, x + rng.uniform(-2.5, 2.5), y - length), fill=shade)


def _add_lights(picture: Image.Image, rng: random.Random) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(45):
        x, y, glow = rng.randrange(IMAGE_SIZE), rng.randrange(IMAGE_SIZE), rng.randint(120, 235)
        draw.point((x, y), fill=(glow, glow, min(glow + 20, 255)))


def _vary(colour: Colour, rng: random.Random, amount: int) -> Colour:
    """Shifts each channel a little."""
    red, green, blue = (min(max(channel + rng.randint(-amount, amount), 0), 255) for channel in colour)
    return red, green, blue


def _blend(colour: Colour, other: Colour, share: float) -> Colour:
    """Mixes `share` of another colour in."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue
