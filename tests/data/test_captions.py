"""Cleaning captions, and reading them from both kinds of file."""

import re

import pytest

from captioner.data import captions

TOKEN_FILE = "Flickr8k.token.txt"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A child in a pink dress .", "a child in a pink dress"),
        ("A man, in a T-shirt .", "a man in a t shirt"),
        ("a man 's hat", "a man s hat"),
        ("The dog's ball isn't red", "the dog s ball isn t red"),
        ("The dog\u2019s ball", "the dog s ball"),
        ("2 boys and 10 girls, number 42", "2 boys and 10 girls number 42"),
        ("snake_case and <start> words <end>", "snake case and start words end"),
        ("  tabs\tand \n lines  ", "tabs and lines"),
        ("Un caf\u00e9 \u00e0 Z\u00fcrich", "un caf\u00e9 \u00e0 z\u00fcrich"),
        # The same word, as one character and as a letter with an accent after it.
        ("cafe\u0301", "caf\u00e9"),
        ("\u201cquoted\u201d \u2013 dash \u2026", "quoted dash"),
        ("\uff21\uff22 \ufb01sh", "ab fish"),
        ("\u72d7\u5728\u8349\u5730\u4e0a\u3002", "\u72d7\u5728\u8349\u5730\u4e0a"),
        ("a dog \U0001f436 !", "a dog"),
        ("...", ""),
        ("", ""),
    ],
)
def test_captions_are_cleaned_and_cleaning_twice_changes_nothing(text, cleaned):
    assert captions.clean_caption(text) == cleaned
    assert captions.clean_caption(cleaned) == cleaned


def test_cleaning_the_real_captions_twice_changes_nothing(flickr8k_dir):
    raw = captions.read_token_file(flickr8k_dir / TOKEN_FILE)
    for texts in raw.values():
        for text in map(captions.clean_caption, texts):
            assert re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", text)
            assert captions.clean_caption(text) == text


def _write(tmp_path, content, name=TOKEN_FILE):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_token_file_is_read_in_its_order(tmp_path):
    path = _write(tmp_path, "b.jpg#0\tA dog .\nb.jpg#1\tTwo dogs .\n\na.jpg#0\tA cat\twith a tab\n")
    read = captions.read_token_file(path)
    assert list(read.items()) == [("b.jpg", ["A dog .", "Two dogs ."]), ("a.jpg", ["A cat\twith a tab"])]


def test_names_with_blanks_and_hashes_are_read(tmp_path):
    assert captions.read_token_file(_write(tmp_path, "my dog #1.jpg#0\tA dog\n")) == {"my dog #1.jpg": ["A dog"]}


def test_windows_lines_and_a_byte_order_mark_are_read(tmp_path):
    path = _write(tmp_path, b"\xef\xbb\xbfa.jpg#0\tA dog\r\na.jpg#1\tA cat\r\n")
    assert captions.read_token_file(path) == {"a.jpg": ["A dog", "A cat"]}
    path = _write(tmp_path, b"\xef\xbb\xbfimage,caption\r\na.jpg,A dog\r\n", "captions.txt")
    assert captions.read_kaggle_captions(path) == {"a.jpg": ["A dog"]}


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0b", "\x0c"])
def test_rare_separators_inside_a_caption_do_not_end_its_line(tmp_path, character):
    path = _write(tmp_path, f"a.jpg#0\tA dog{character}runs\n")
    assert captions.read_token_file(path) == {"a.jpg": [f"A dog{character}runs"]}


@pytest.mark.parametrize(
    "line", ["a.jpg#1 A dog", "a.jpg\tA dog", "a.jpg#x\tA dog", "#0\tA dog", "a.jpg,A dog", "only words"]
)
def test_a_mangled_line_is_named_by_file_and_line(tmp_path, line):
    path = _write(tmp_path, f"a.jpg#0\tA dog\n\n{line}\n")
    message = "Flickr8k.token.txt, line 3: expected '<file>#<n><TAB><caption>'. Mend or remove that line."
    with pytest.raises(ValueError, match=f"^{re.escape(f'{message} Received: {line!r}')}$"):
        captions.read_token_file(path)


def test_a_long_mangled_line_is_shown_in_part(tmp_path):
    with pytest.raises(ValueError, match=r"Received: 'x{80}'$"):
        captions.read_token_file(_write(tmp_path, "x" * 1000))


def test_kaggle_captions_may_hold_quoted_commas_and_quotes(tmp_path):
    content = 'image,caption\nb.jpg,A dog .\nb.jpg,"A dog, a cat and a ""cow"" ."\n\na.jpg,A cat .\n'
    read = captions.read_kaggle_captions(_write(tmp_path, content, "captions.txt"))
    assert list(read.items()) == [
        ("b.jpg", ["A dog .", 'A dog, a cat and a "cow" .']),
        ("a.jpg", ["A cat ."]),
    ]


@pytest.mark.parametrize("row", ["a.jpg,A dog, a cat", "a.jpg", ",A dog", " ,A dog"])
def test_a_mangled_row_is_named_by_file_and_line(tmp_path, row):
    message = "captions.txt, line 3: expected '<file>,<caption>', a caption with commas in quotes."
    path = _write(tmp_path, f"image,caption\na.jpg,A dog\n{row}\na.jpg,A cat\n", "captions.txt")
    with pytest.raises(ValueError, match=f"^{re.escape(message)} Mend or remove that line. Received: {row!r}$"):
        captions.read_kaggle_captions(path)


def test_a_quote_that_is_never_closed_is_named_where_it_opens(tmp_path):
    path = _write(tmp_path, 'image,caption\na.jpg,"A dog\na.jpg,A cat\nb.jpg,A cow\n', "captions.txt")
    with pytest.raises(ValueError, match="captions.txt, line 2: expected .*Received: 'a.jpg,A dog"):
        captions.read_kaggle_captions(path)


@pytest.mark.parametrize(
    ("content", "received"),
    [("", "None"), ("a.jpg,A dog\n", r"\['a.jpg', 'A dog'\]"), ("caption\n", r"\['caption'\]")],
)
def test_a_kaggle_file_without_its_header_is_refused(tmp_path, content, received):
    path = _write(tmp_path, content, "captions.txt")
    with pytest.raises(ValueError, match=f"line 1: expected the header 'image,caption'. Received: {received}"):
        captions.read_kaggle_captions(path)


@pytest.mark.parametrize("read", [captions.read_token_file, captions.read_kaggle_captions])
def test_a_file_that_is_not_utf_8_is_refused(tmp_path, read):
    path = _write(tmp_path, "a.jpg#0\tUn caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"Flickr8k.token.txt is not UTF-8 text \(byte 14\). Save it as UTF-8"):
        read(path)


def test_the_real_token_file_has_five_captions_for_each_photo(flickr8k_dir):
    read = captions.read_token_file(flickr8k_dir / TOKEN_FILE)
    assert len(read) == 8000
    assert {len(texts) for texts in read.values()} == {5}
