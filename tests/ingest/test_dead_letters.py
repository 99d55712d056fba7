from pathlib import Path

import pytest

from tracker.errors import ConfigurationError
from tracker.ingest.dead_letters import FILE_NAME, DeadLetters
from tracker.ingest.items import CartId, Item

KEY = (CartId("7d9f5f0e-1111-4222-8333-444455556666"), "sku")


def test_a_letter_behind_one_that_a_kill_cut_off_is_kept(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.bury(KEY, Item.written(1, "one", None, None), "bad")
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b'{"at": "2026-')
    letters.bury(KEY, Item.written(2, "two", None, None), "bad")
    assert [letter.item.name for letter in letters.all()] == ["one", "two"]


def test_letters_that_were_taken_come_back_when_the_block_fails(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.bury(KEY, Item.written(1, "\ud800", 2**70, None), "bad")
    with pytest.raises(RuntimeError), letters.taken():
        raise RuntimeError
    with letters.taken() as taken:
        letters.bury(KEY, Item.written(2, "added meanwhile", None, None), "bad")
        assert [letter.item.value for letter in taken] == [2**70]
    assert [letter.item.name for letter in letters.all()] == ["added meanwhile"]


def test_two_cannot_send_them_again_at_once(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    with letters.taken(), pytest.raises(ConfigurationError, match="somebody else"), letters.taken():
        pass


OTHER = (CartId("11111111-1111-4222-8333-444455556666"), "sku")


def test_letters_of_a_cart_are_forgotten_also_those_that_a_retry_has_left(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.bury(KEY, Item.written(1, "\ud800", 2**70, None), "bad")
    letters.bury(OTHER, Item.written(2, "\ud800", 2**70, None), "bad")
    with pytest.raises(RuntimeError), letters.taken():
        raise RuntimeError
    letters.bury(KEY, Item.written(3, "three", None, None), "bad")
    kept = [letter for letter in letters.all() if letter.key == OTHER]
    assert letters.forget({KEY[0]}) == 2
    assert letters.all() == kept
    assert letters.forget({KEY[0]}) == 0
    letters.bury(OTHER, Item.written(4, "four", None, None), "bad")
    assert [letter.item.added_stamp for letter in letters.all()] == [2, 4]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_letters_that_are_being_sent_again_cannot_be_forgotten(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.bury(KEY, Item.written(1, "one", None, None), "bad")
    with letters.taken(), pytest.raises(ConfigurationError, match="somebody else"):
        letters.forget({KEY[0]})
