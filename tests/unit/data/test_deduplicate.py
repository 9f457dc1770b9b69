from retort.data.deduplicate import find_duplicates, jaccard, shingles

LONG = (
    "Natalia sold clips to {a} of her friends in April and then she sold half as many clips in May because it was a "
    "holiday month and her shop was closed for {b} days while she was visiting her parents in another city by the sea "
    "where the weather was warm and the food was good and nobody asked her for clips at all"
)


def indices(texts, threshold=0.85):
    return [(duplicate.index, duplicate.of, duplicate.exact) for duplicate in find_duplicates(texts, threshold)]


def test_case_and_white_space_do_not_make_a_text_new():
    assert indices(["Two  cards?", "three", "two cards?\n"]) == [(2, 0, True)]


def test_one_changed_word_in_a_long_text_is_a_near_duplicate():
    texts = [LONG.format(a=48, b=5), LONG.format(a=48, b=5).replace("warm", "mild")]
    # 64 words give 60 5-grams; one word changes 5 of them: 55 shared of 65
    assert jaccard(shingles(texts[0]), shingles(texts[1])) == 55 / 65
    assert indices(texts, threshold=0.84) == [(1, 0, False)]
    assert indices(texts, threshold=0.85) == []


def test_numbers_are_content():
    """However long the shared text, other numbers make another problem: GSM8K's variants are 90 % alike."""
    texts = [LONG.format(a=48, b=5), LONG.format(a=50, b=5)]
    assert jaccard(shingles(texts[0]), shingles(texts[1])) > 0.8
    assert indices(texts, threshold=0.5) == []


def test_short_templated_problems_are_all_kept():
    texts = [f"Ada has {a} cards. Ada buys {b}. Ada loses 7. How many cards now?" for a in range(9) for b in range(9)]
    assert indices(texts, threshold=0.5) == []


def test_many_texts_are_compared_by_sketches_with_the_same_result():
    topics = [f"{'abcdefghij'[i]}{'klmnopqrst'[j]}" for i in range(10) for j in range(10)]
    texts = [
        " ".join(f"{topic}{place:b}x" for place in range(60)).replace("0", "u").replace("1", "v") for topic in topics
    ]
    changed = [texts[3].replace("x", "x", 1) + " end", texts[40] + " end"]
    assert indices(texts + changed) == [(100, 3, False), (101, 40, False)]


def test_threshold_one_turns_near_duplicates_off():
    text = LONG.format(a=48, b=5)
    assert indices([text, text + " again"], threshold=1.0) == []
    assert indices([text, text + " again"]) == [(1, 0, False)]
