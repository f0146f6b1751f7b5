"""One reader for each layout of a data set, how the right one is found, and what is said of a line that is mangled."""

import json
import os
import re

import pytest

from captioner.data import layouts

TOKEN_FILE = "Flickr8k.token.txt"


def _write(tmp_path, content, name=TOKEN_FILE):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_token_file_is_read_in_its_order(tmp_path):
    path = _write(tmp_path, "b.jpg#0\tA dog .\nb.jpg#1\tTwo dogs .\n\na.jpg#0\tA cat\twith a tab\n")
    read = layouts.read_token_file(path)
    assert list(read.captions.items()) == [("b.jpg", ["A dog .", "Two dogs ."]), ("a.jpg", ["A cat\twith a tab"])]


def test_names_with_blanks_and_hashes_are_read(tmp_path):
    read = layouts.read_token_file(_write(tmp_path, "my dog #1.jpg#0\tA dog\n"))
    assert read.captions == {"my dog #1.jpg": ["A dog"]}


def test_windows_lines_and_a_byte_order_mark_are_read(tmp_path):
    path = _write(tmp_path, b"\xef\xbb\xbfa.jpg#0\tA dog\r\na.jpg#1\tA cat\r\n")
    assert layouts.read_token_file(path).captions == {"a.jpg": ["A dog", "A cat"]}
    path = _write(tmp_path, b"\xef\xbb\xbfimage,caption\r\na.jpg,A dog\r\n", "captions.txt")
    assert layouts.read_table(path).captions == {"a.jpg": ["A dog"]}


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0b", "\x0c"])
def test_rare_separators_inside_a_caption_do_not_end_its_line(tmp_path, character):
    path = _write(tmp_path, f"a.jpg#0\tA dog{character}runs\n")
    assert layouts.read_token_file(path).captions == {"a.jpg": [f"A dog{character}runs"]}


@pytest.mark.parametrize(
    "line", ["a.jpg#1 A dog", "a.jpg\tA dog", "a.jpg#x\tA dog", "#0\tA dog", "a.jpg,A dog", "only words"]
)
def test_a_mangled_line_is_named_by_file_and_line(tmp_path, line):
    path = _write(tmp_path, f"a.jpg#0\tA dog\n\n{line}\n")
    message = (
        "Flickr8k.token.txt, line 3: expected '<file>#<n><TAB><caption>', as in the official layout. Mend or remove"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(f'{message} that line. Received: {line!r}')}$"):
        layouts.read_token_file(path)


def test_a_long_mangled_line_is_shown_in_part(tmp_path):
    with pytest.raises(ValueError, match=r"Received: 'x{80}'$"):
        layouts.read_token_file(_write(tmp_path, "x" * 1000))


@pytest.mark.parametrize(
    "content",
    [
        'image,caption\nb.jpg,A dog .\nb.jpg,"A dog, a cat and a ""cow"" ."\n\na.jpg,A cat .\n',
        'Image,Caption\r\nb.jpg,A dog .\r\nb.jpg, "A dog, a cat and a ""cow"" ."\r\na.jpg,A cat .\r\n',
        '\n,image,caption\n0,b.jpg,A dog .\n1,b.jpg,"A dog, a cat and a ""cow"" ."\n2,a.jpg,A cat .\n',
        'filename\tsentence\nb.jpg\tA dog .\nb.jpg\t"A dog, a cat and a ""cow"" ."\na.jpg\tA cat .\n',
        'caption;file_name\nA dog .;b.jpg\n"A dog, a cat and a ""cow"" .";b.jpg\nA cat .;a.jpg\n',
        # Flickr30k's, a line of which lacks its second sign.
        'image_name| number| comment\nb.jpg| 0| A dog .\nb.jpg| 1   A dog, a cat and a "cow" .\na.jpg| 0| A cat .',
        'image_name,comment_number,comment\nb.jpg,0,A dog .\nb.jpg,1,"A dog, a cat and a ""cow"" ."\na.jpg,0,A cat .\n',
        'b.jpg#0\tA dog .\nb.jpg#1\tA dog, a cat and a "cow" .\na.jpg#0\tA cat .\n',
    ],
    ids=["kaggle", "capitals", "index", "tabs", "semicolons", "flickr30k", "flickr30k commas", "official"],
)
def test_tables_are_read_however_their_columns_are_called_and_divided(tmp_path, content):
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        read = layouts.read_table(_write(tmp_path, content.encode(encoding), "captions.txt"))
        captions = [(i, [text.strip() for text in texts]) for i, texts in read.captions.items()]
        assert captions == [("b.jpg", ["A dog .", 'A dog, a cat and a "cow" .']), ("a.jpg", ["A cat ."])]
        assert read.splits is None


@pytest.mark.parametrize("row", ["a.jpg,A dog, a cat", "a.jpg", ",A dog", " ,A dog"])
def test_a_mangled_row_is_named_by_file_and_line(tmp_path, row):
    message = "captions.txt, line 3: expected 2 columns divided by ',', a caption that holds it in quotes."
    path = _write(tmp_path, f"image,caption\na.jpg,A dog\n{row}\na.jpg,A cat\n", "captions.txt")
    with pytest.raises(ValueError, match=f"^{re.escape(message)} Mend or remove that line. Received: '{row}'$"):
        layouts.read_table(path)


@pytest.mark.parametrize("num_rows", [3, 4000])
def test_a_quote_that_is_never_closed_is_named_where_it_opens(tmp_path, num_rows):
    # Few rows end with the file; with many the cell gets longer than the csv module takes.
    rows = "".join(f"{number}.jpg,A dog runs over the grass of the park\n" for number in range(num_rows))
    path = _write(tmp_path, f'image,caption\nb.jpg,A cat\na.jpg,"A dog\n{rows}', "captions.txt")
    with pytest.raises(ValueError, match="captions.txt, line 3: expected 2 columns .*Received: 'a.jpg,\"?A dog"):
        layouts.read_table(path)


@pytest.mark.parametrize(
    ("content", "received"),
    [
        ("", "''"),
        ("a.jpg,A dog\n", "'a.jpg,A dog'"),
        ("caption\n", "'caption'"),
        ("image,caption,caption\n", "'image,caption,caption'"),
        # A column that may say what must not be passed over.
        ("image,caption,split\n", "'image,caption,split'"),
    ],
)
def test_a_table_without_a_header_is_refused(tmp_path, content, received):
    path = _write(tmp_path, content, "captions.txt")
    with pytest.raises(ValueError, match=f"line 1: expected the header 'image,caption', as .* Received: {received}$"):
        layouts.read_table(path)


@pytest.mark.parametrize("read", [layouts.read_token_file, layouts.read_table, layouts.read_karpathy_file])
def test_a_file_that_is_not_utf_8_is_refused(tmp_path, read):
    path = _write(tmp_path, "a.jpg#0\tUn caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"Flickr8k.token.txt is not UTF-8 text \(byte 14\). Save it as UTF-8"):
        read(path)


def _write_karpathy(tmp_path, *images):
    made = [
        {"filename": name, "filepath": "val2014", "split": split, "sentences": [{"raw": text, "tokens": []}]}
        for name, split, text in images
    ]
    return _write(tmp_path, json.dumps({"images": made, "dataset": "coco"}), "dataset_coco.json")


def test_karpathys_file_holds_captions_and_splits_and_the_rest_of_validation_is_train(tmp_path):
    rows = [
        ("a.jpg", "test", "A dog."),
        ("b.jpg", "restval", "A cat."),
        ("c.jpg", "val", "A cow."),
        ("d.jpg", "train", "Two."),
    ]
    read = layouts.read_karpathy_file(_write_karpathy(tmp_path, *rows))
    assert read.captions == {"a.jpg": ["A dog."], "b.jpg": ["A cat."], "c.jpg": ["A cow."], "d.jpg": ["Two."]}
    assert read.splits == {"train": ["b.jpg", "d.jpg"], "validation": ["c.jpg"], "test": ["a.jpg"]}


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"images": {}}', "[" * 100_000, "1" * 5000])
def test_json_that_is_not_karpathys_is_refused(tmp_path, content):
    with pytest.raises(
        ValueError, match="dataset.json: expected a JSON object with a list of 'images', as in Karpathy"
    ):
        layouts.read_karpathy_file(_write(tmp_path, content, "dataset.json"))


@pytest.mark.parametrize(
    "images", [[("a.jpg", "dev", "A dog.")], [("a.jpg", "val", None)], [("a.jpg", "val", "A")] * 2]
)
def test_a_photo_of_karpathys_that_is_mangled_is_named_by_its_number(tmp_path, images):
    path = _write_karpathy(tmp_path, *images)
    with pytest.raises(
        ValueError, match=f"dataset_coco.json, photo {len(images)}: expected .* Received: '{{\"filename"
    ):
        layouts.read_karpathy_file(path)
    path.write_text('{"images": [7]}')
    with pytest.raises(ValueError, match="dataset_coco.json, photo 1: expected 'filename', .* Received: '7'"):
        layouts.read_karpathy_file(path)


def test_a_name_with_half_a_letter_is_refused(tmp_path):
    path = _write_karpathy(tmp_path, ("\ud800.jpg", "val", "A dog."))
    with pytest.raises(ValueError, match="dataset_coco.json, photo 1: expected the name of a file within the folder"):
        layouts.read_karpathy_file(path)


@pytest.mark.parametrize(
    "image_id",
    [
        *("../a.jpg", "b/../a.jpg", "..", "/etc/a.jpg", "C:\\a.jpg", "\\a.jpg", "b\\..\\a.jpg"),
        *("a\0.jpg", "a\x1b[2J.jpg", "a\x9b.jpg"),
    ],
)
def test_image_ids_that_lead_elsewhere_or_steer_a_terminal_are_refused(tmp_path, image_id):
    message = f"1: expected the name of a file within the folder of photos. .* Received: {re.escape(repr(image_id))}$"
    with pytest.raises(ValueError, match=message):
        layouts.read_token_file(_write(tmp_path, f"{image_id}#0\tA dog\n"))
    with pytest.raises(ValueError, match=message.replace("1:", "2:")):
        layouts.read_table(_write(tmp_path, f"image,caption\n{image_id},A dog\n", "captions.txt"))
    with pytest.raises(ValueError, match=message):
        layouts.read_karpathy_file(_write_karpathy(tmp_path, (image_id, "val", "A dog")))
    with pytest.raises(ValueError, match=message):
        layouts.read_split_file(_write(tmp_path, f"{image_id}\n", "Flickr_8k.testImages.txt"))


@pytest.mark.parametrize("image_id", ["a..b.jpg", "within/a.jpg", "...jpg", "a:b.jpg", "2258277193_586949ec62.jpg.1"])
def test_image_ids_that_are_merely_odd_are_read(tmp_path, image_id):
    assert layouts.read_token_file(_write(tmp_path, f"{image_id}#0\tA dog\n")).captions == {image_id: ["A dog"]}


def test_captions_are_found_for_another_spelling_of_a_name():
    captions = {"caf\u00e9.JPG": ["A cup"], "b.jpg": ["A dog"]}
    read = layouts.RawCaptions(captions)
    assert read.of("cafe\u0301.jpg") == ["A cup"]
    assert read.of("b.jpg") == ["A dog"]
    assert read.of("c.jpg") == []


def _make_files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return layouts.list_folders(folder)


@pytest.mark.parametrize(
    ("names", "found", "read"),
    [
        (["captions.txt", "within/Flickr8k.token.txt", "within/Flickr8k.lemma.token.txt"], 1, layouts.read_token_file),
        (["results_20130124.token", "dataset_flickr30k.json"], 0, layouts.read_token_file),
        (["captions.txt", "a/b/c/dataset_flickr8k.json"], 1, layouts.read_karpathy_file),
        (["flickr30k_images/results.csv"], 0, layouts.read_table),
        (["Captions.CSV"], 0, layouts.read_table),
        (["a/captions.txt", "captions.tsv"], 1, layouts.read_table),
        # What Kaggle and Hugging Face say of a data set.
        (["dataset-metadata.json", "dataset_info.json", "captions.txt"], 2, layouts.read_table),
    ],
)
def test_the_file_of_captions_is_found_by_looking(tmp_path, names, found, read):
    *chosen, others = layouts.find_captions(_make_files(tmp_path, *names))
    assert chosen == [tmp_path / names[found], read]
    assert {tmp_path / names[found], *others} <= {tmp_path / name for name in names}


@pytest.mark.parametrize("name", ["a.csv", ".captions.txt", "__MACOSX/captions.txt", "a/b/c/d/captions.txt"])
def test_hidden_and_deep_and_other_files_hold_no_captions(tmp_path, name):
    assert layouts.find_captions(_make_files(tmp_path, name)) is None


def test_captions_of_two_data_sets_side_by_side_are_refused(tmp_path):
    folders = _make_files(tmp_path, "dataset_flickr8k.json", "dataset_coco.json")
    with pytest.raises(ValueError, match="captions of several data sets: dataset_coco.json, dataset_flickr8k.json"):
        layouts.find_captions(folders)


def test_a_folder_without_rights_is_named_but_not_what_each_disk_has(tmp_path, monkeypatch):
    folders = _make_files(tmp_path, "captions.txt", "Images/a.jpg", "lost+found/b.jpg")
    assert tmp_path / "lost+found" not in folders
    scan = os.scandir

    def refuse(folder):
        if os.path.basename(folder) == "Images":
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    # The super-user may enter every folder, so the system's answer is played.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=f"^The folder {tmp_path / 'Images'} may not be read: you have no right"):
        layouts.list_folders(tmp_path)


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(layouts.list_folders(tmp_path)) == 4


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("Flickr_8k.devImages.txt", "a.jpg\n", "Flickr_8k.devImages.txt is there, so the official layout came nearest"),
        (
            "mine.csv",
            "image,caption\n",
            "mine.csv, line 1, came nearest: .* name it captions.csv",
        ),
        ("all.txt", "a.jpg#0\tA dog\n", "all.txt, line 1, came nearest: .* name it Flickr8k.token.txt"),
        ("coco.json", '{"images": [{"filename"', "coco.json came nearest: .* name it dataset_flickr8k.json"),
        ("notes.txt", "my notes", "^$"),
    ],
)
def test_where_no_captions_are_found_the_nearest_layout_is_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    names = {"validation": "Flickr_8k.devImages.txt"}
    assert re.search(sentence, layouts.explain_nearest(layouts.list_folders(tmp_path), names))


def test_the_real_token_file_has_five_captions_for_each_photo(flickr8k_dir):
    captions = layouts.read_token_file(flickr8k_dir / TOKEN_FILE).captions
    assert len(captions) == 8000
    assert {len(texts) for texts in captions.values()} == {5}
