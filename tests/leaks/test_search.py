"""The search among many scans: copies pass the screen, few others do, and it ends where nothing is found."""

import numpy as np
import pytest
from test_duplicates import COPIES, drawn, picture, prints, small

from bench.leaks import search
from bench.leaks.duplicates import Match
from bench.leaks.search import Scans, Sight, confirmed, likeliest, looked_at, passing, screened

FEW = 6


@pytest.fixture
def few(monkeypatch):
    """Let so few scans pass that the screen must choose."""
    monkeypatch.setattr(search, "LEAST", FEW)
    monkeypatch.setattr(search, "SHARE", 0)


@pytest.mark.parametrize("scan", [drawn, small, picture], ids=lambda f: f.__name__)
def test_copies_of_every_kind_are_among_the_few_that_pass(few, scan):
    pool = Scans.of(prints(*(scan(i) for i in range(12))))
    copies = Scans.of(prints(*(copied(scan(7)) for copied in COPIES)))
    pairs = likeliest(screened(pool, copies))
    assert len(pairs) == FEW * len(COPIES)
    assert {b for a, b, _, _ in pairs.tolist() if a == 7} == set(range(len(COPIES)))
    best = {}
    for sight in sorted(looked_at(pool, copies, pairs), key=lambda s: s.value):
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
    matches = search.matches([*flat, *volume], [*volume, *empty, *flat])
    assert [(m.a, m.b) for m in matches] == [(0, 2), (1, 0)]
    assert search.matches([], volume) == [] and search.matches(volume, []) == []
    assert (screened(Scans.of([*flat, *empty]), Scans.of(volume))[..., 0] == -1).all()


@pytest.mark.parametrize(
    ("scans", "expected"), [(0, 0), (5, 5), (139, 64), (1808, 603), (22_000, 7333)]
)
def test_how_many_pass(scans, expected):
    assert passing(scans) == expected


def test_each_scan_keeps_its_own_likeliest_with_their_channels(monkeypatch):
    monkeypatch.setattr(search, "LEAST", 3)
    monkeypatch.setattr(search, "SHARE", 0)
    monkeypatch.setattr(search, "COLUMNS", 2)
    values = np.array([[9, -1, 1], [1, -1, 2], [2, -1, 3], [3, -1, 4], [4, -1, 5]], np.float32)
    scores = np.stack([values, np.full_like(values, 2), np.full_like(values, 1)], axis=-1)
    kept = [[0, 0], [2, 2], [3, 0], [3, 2], [4, 0], [4, 2]]
    assert likeliest(scores).tolist() == [[*pair, 2, 1] for pair in kept]


def test_the_screen_names_the_channels_that_look_alike():
    volumes = prints(*(small(i) for i in range(4)))
    first = Scans.of([np.concatenate(volumes[:2]), volumes[2]])
    second = Scans.of([volumes[1], np.concatenate([volumes[3], volumes[0]])])
    found = screened(first, second)
    assert found[0, :, 0] == pytest.approx(1, abs=0.02)
    assert found[0, :, 1:].tolist() == [[1, 0], [0, 1]]
    assert (found[1, :, 0] < 0.97).all()


@pytest.fixture
def asked(monkeypatch):
    """Let a channel be alike another if both are named in ``same``; return what is asked."""
    every = []

    def compared(ones, two):
        every.extend((one.name, two.name) for one in ones)
        return [0.6 if {one.name, two.name} <= SAME else -1.0 for one in ones]

    monkeypatch.setattr(search, "PATIENCE", 2)
    monkeypatch.setattr(search, "compared", compared)
    return every


class Channel:
    volume = np.zeros((1, 1, 1))

    def __init__(self, name):
        self.name = name


SAME = {"9", "7", "b", "x1"}


def test_the_search_for_a_scan_ends_after_comparisons_in_vain_and_goes_on_after_a_match(asked):
    sights = [Sight(a, 0, 0, 0, a / 10) for a in range(10)]
    found = confirmed(sights, lambda a: [Channel(str(a))], [[Channel("b")]])
    assert found == [Match(9, 0, 0.6), Match(7, 0, 0.6)]
    assert [one for one, _ in asked] == ["9", "8", "7", "6", "5"]


@pytest.mark.parametrize(
    ("others", "pairs"),
    [
        (("c", "b"), [("x0", "c"), ("x1", "b")]),  # as many: each with its own
        (("b",), [("x0", "b"), ("x1", "b")]),
    ],
)
def test_of_the_likeliest_every_channel_is_compared(asked, monkeypatch, others, pairs):
    monkeypatch.setattr(search, "WHOLLY", 1)
    sights = [Sight(0, 0, 0, 0, 0.9), Sight(1, 0, 0, 0, 0.8)]
    both = [Channel("x0"), Channel("x1")]
    assert confirmed(sights, lambda a: both, [list(map(Channel, others))]) == [Match(0, 0, 0.6)]
    assert asked == [pairs[0], pairs[0], pairs[1]]  # the likeliest of both scans at once
