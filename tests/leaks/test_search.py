"""The search among many scans: copies pass the screen, few others do, and it ends where nothing is found."""

import numpy as np
import pytest
from test_duplicates import COPIES, drawn, picture, prints, small

from bench.leaks import search
from bench.leaks.duplicates import Match
from bench.leaks.search import Scans, Sight, confirmed, glance, likeliest, passing, screened

FEW = 6


@pytest.fixture
def few(monkeypatch):
    """Let so few scans pass that the screen must choose."""
    monkeypatch.setattr(search, "LEAST", FEW)
    monkeypatch.setattr(search, "ALWAYS", 0)


@pytest.mark.parametrize("scan", [drawn, small, picture], ids=lambda f: f.__name__)
def test_copies_of_every_kind_are_among_the_few_that_pass(few, scan):
    pool = Scans.of(prints(*(scan(i) for i in range(12))))
    copies = Scans.of(prints(*(copied(scan(7)) for copied in COPIES)))
    pairs = likeliest(screened(pool, copies))
    assert len(pairs) == FEW * len(COPIES)
    assert {b for a, b in pairs.tolist() if a == 7} == set(range(len(COPIES)))
    best = {}
    for sight in sorted(glance(pool, copies, pairs), key=lambda s: s.value):
        best[sight.b] = sight.a
    assert best == dict.fromkeys(range(len(COPIES)), 7)


def test_a_copy_is_found_among_others_in_any_channel(few):
    pool = [*prints(*(small(i) for i in range(5))), np.concatenate(prints(small(5), small(6)))]
    both = np.concatenate(prints(*map(COPIES[-1], (small(9), small(6)))))
    assert [(m.a, m.b) for m in search.matches(pool, [*prints(small(8)), both])] == [(5, 1)]


def test_pictures_meet_pictures_volumes_volumes_and_the_empty_nothing():
    flat, empty = prints(picture(0)), [np.zeros((1, 20, 20, 20), np.uint8)]
    volume = prints(small(0))
    assert search.matches([*flat, *empty], [*volume, *empty]) == []
    assert [(m.a, m.b) for m in search.matches([*flat, *volume], [*volume, *empty, *flat])] == [
        (0, 2),
        (1, 0),
    ]
    assert search.matches([], volume) == [] and search.matches(volume, []) == []
    assert (screened(Scans.of([*flat, *empty]), Scans.of(volume)) == -1).all()


@pytest.mark.parametrize(
    ("scans", "others", "expected"),
    [
        (0, 0, 0),
        (5, 3, 5),
        (139, 42, 139),
        (732, 64, 250),
        (1808, 200, 80),
        (1808, 300, 64),
        (22_000, 285, 440),
    ],
)
def test_how_many_pass(scans, others, expected):
    assert passing(scans, others) == expected


def test_each_scan_keeps_its_own_likeliest(monkeypatch):
    monkeypatch.setattr(search, "LEAST", 3)
    monkeypatch.setattr(search, "ALWAYS", 0)
    scores = np.array([[9, -1, 1], [1, -1, 2], [2, -1, 3], [3, -1, 4], [4, -1, 5]], np.float32)
    assert likeliest(scores).tolist() == [[0, 0], [2, 2], [3, 0], [3, 2], [4, 0], [4, 2]]


def test_the_search_for_a_scan_ends_after_comparisons_in_vain_and_goes_on_after_a_match(monkeypatch):
    monkeypatch.setattr(search, "PATIENCE", 2)
    same = {9, 7}
    asked = []

    def compared(one, two):
        asked.append(one)
        return 0.6 if one in same else -1.0

    class Channel:
        volume = np.zeros((1, 1, 1))

    monkeypatch.setattr(search, "compared", compared)
    sights = [Sight(a, 0, 0, 0, a / 10) for a in range(10)]
    found = confirmed(sights, lambda a: [a], [[Channel()]])
    assert found == [Match(9, 0, 0.6), Match(7, 0, 0.6)]
    assert asked == [9, 8, 7, 6, 5]
