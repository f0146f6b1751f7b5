"""Cleaning captions: words of every script stay whole, and what is not cut into words is refused."""

import re
import unicodedata

import pytest

from captioner.data import captions, datasets, layouts


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
        # Vowel signs and accents that are characters of their own.
        ("एक लड़की पार्क में ।", "एक लड\u093cकी पार्क में"),
        ("ผู้หญิง กับ สุนัข", "ผู้หญิง กับ สุนัข"),
        ("مُدَرِّسٌ، كَلْبٌ", "مُدَرِّسٌ كَلْبٌ"),
        ("İKİ köpek", "iki köpek"),
        # A joiner is of the word that it stands in, and of none at its edge.
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("\u200cसड़क\u200d।", "सड\u093cक"),
        ("un\u00adhappy", "unhappy"),
        # Marks without a letter: an emoji's variant, a key, an accent on nothing.
        ("a \u2764\ufe0f dog 1\ufe0f\u20e3 \u0301 !\u0301", "a dog 1"),
        ("...", ""),
        ("", ""),
    ],
)
def test_captions_are_cleaned_and_cleaning_twice_changes_nothing(text, cleaned):
    assert captions.clean_caption(text) == cleaned
    assert captions.clean_caption(cleaned) == cleaned


def test_cleaning_the_real_captions_twice_changes_nothing(flickr8k_dir):
    raw = layouts.read_token_file(flickr8k_dir / datasets.TOKEN_FILE).captions
    for texts in raw.values():
        for text in map(captions.clean_caption, texts):
            assert re.fullmatch(r"[a-z0-9]+( [a-z0-9]+)*", text)
            assert captions.clean_caption(text) == text


@pytest.mark.parametrize("start", range(0, 0x110000, 0x10000))
def test_cleaning_twice_changes_nothing_whatever_the_letter(start):
    words = (f"i{letter}\u0301 {letter}\u0307x a{letter}b" for letter in map(chr, range(start, start + 0x10000)))
    cleaned = captions.clean_caption(" ".join(words))
    assert captions.clean_caption(cleaned) == cleaned
    assert cleaned == " ".join(cleaned.split())


def test_every_letter_and_mark_of_a_word_stays_in_it():
    # Of each script one word; every one has a letter that `\\w` does not match.
    words = "हिन्दी বাংলা ਪੰਜਾਬੀ ગુજરાતી தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල ภาษาไทย עִבְרִית ދިވެހި"
    for word in words.split():
        assert captions.clean_caption(f"« {word} »") == unicodedata.normalize("NFKC", word)


@pytest.mark.parametrize(
    ("language", "uncut", "cut"),
    [
        ("Chinese or Japanese", "一只黑狗，在草地上奔跑。", "一 只 黑 狗 在 草地 上 奔跑"),
        ("Japanese", "いぬがくさのうえをはしる", "いぬ が くさ の うえ を はしる"),
        ("Thai", "สุนัขสีดำวิ่งบนหญ้า", "สุนัข สี ดำ วิ่ง บน หญ้า"),
        ("Lao", "ໝາແລ່ນຢູ່ເທິງຫຍ້າ", "ໝາ ແລ່ນ ຢູ່ ເທິງ ຫຍ້າ"),
        ("Khmer", "ឆ្កែកំពុងរត់លើស្មៅ", "ឆ្កែ កំពុង រត់ លើ ស្មៅ"),
        ("Burmese", "ခွေးသည်မြက်ပေါ်တွင်ပြေးနေသည်", "ခွေး သည် မြက် ပေါ် တွင် ပြေး နေ သည်"),
    ],
)
def test_sentences_that_are_not_cut_into_words_are_refused_by_their_language(language, uncut, cut):
    captions.refuse_uncut(map(captions.clean_caption, [cut] * 3), "here")
    with pytest.raises(ValueError, match=f"The captions in here are {language} without blanks between words, .*cuts"):
        captions.refuse_uncut(map(captions.clean_caption, [uncut] * 3), "here")


def test_a_few_foreign_captions_among_others_are_no_reason_to_refuse_all():
    captions.refuse_uncut(["a dog runs over the grass of the park"] * 4 + ["一只黑狗在草地上奔跑"], "here")
    captions.refuse_uncut(["donaudampfschifffahrtsgesellschaftskapitän"], "here")
    captions.refuse_uncut([], "here")
