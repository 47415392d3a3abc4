"""Close codes and what they ask of a client (protocol §4.5)."""
from __future__ import annotations

import unittest

from fleetwire.backoff import Backoff, Ending, Step
from fleetwire.errors import ConnectionEnded, NoMoreTokens, Refused


def closed(code: int, lived: float | None = 1.0, back_in: float | None = None) -> Ending:
    return Ending(ConnectionEnded(code, ""), lived, back_in)


class BackoffTest(unittest.TestCase):
    def setUp(self) -> None:
        self.backoff = Backoff(lambda bound: bound)

    def test_bounds_double_to_a_minute(self) -> None:
        pauses = [self.backoff.after(closed(1006, None)).pause for _ in range(9)]
        self.assertEqual(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60])

    def test_a_connection_of_10_s_takes_the_bound_back(self) -> None:
        for lived, want in ((None, 1), (9.9, 2), (10.0, 1), (0.0, 2)):
            self.assertEqual(self.backoff.after(closed(1006, lived)).pause, want, f"after {lived}")

    def test_each_code(self) -> None:
        for code in (1001, 1002, 1006, 1007, 1008, 1009, 1011, 1013, 4000, 4011, 1000, 1005, 4999):
            self.assertEqual(Backoff(lambda bound: bound).after(closed(code)), Step(pause=1), code)
        for code in (4003, 4012, 4020):
            self.assertTrue(Backoff().after(closed(code)).stop, code)
        self.assertEqual(self.backoff.after(closed(4010, None)), Step(pause=31))

    def test_pauses_are_random_from_zero(self) -> None:
        pauses = [Backoff().after(closed(1006)).pause for _ in range(200)]
        self.assertTrue(all(0 <= p <= 1 for p in pauses))
        self.assertTrue(min(pauses) < 0.2 and max(pauses) > 0.8)

    def test_an_invalid_token_is_replaced_once(self) -> None:
        self.assertEqual(self.backoff.after(closed(4001, None)), Step(new_token=True, pause=1))
        self.assertTrue(self.backoff.after(closed(4001, None)).stop)

    def test_a_welcome_forgives(self) -> None:
        self.backoff.after(closed(4001, None))
        self.assertEqual(self.backoff.after(closed(4001, 1.0)), Step(new_token=True, pause=2))

    def test_an_expired_token_is_replaced_at_once_but_once(self) -> None:
        self.assertEqual(self.backoff.after(closed(4002, 1.0)), Step(new_token=True))
        self.assertEqual(self.backoff.after(closed(4002, None)), Step(new_token=True))
        self.assertEqual(self.backoff.after(closed(4002, None)), Step(new_token=True, pause=1))

    def test_going_away_says_when(self) -> None:
        self.assertEqual(self.backoff.after(closed(1001, 1.0, 2.5)), Step(pause=2.5))
        self.assertEqual(self.backoff.after(closed(1006, 1.0, -1.0)), Step(pause=0))
        self.assertEqual(self.backoff.failures, 0)
        self.assertTrue(self.backoff.after(closed(4020, 1.0, 2.5)).stop)

    def test_retry_after_comes_before_the_pause(self) -> None:
        self.assertEqual(self.backoff.after(Ending(Refused("", "", status=429, retry_after=20))).pause, 21)
        self.assertEqual(self.backoff.after(Ending(Refused("", "", status=429, retry_after=1e6))).pause, 302)

    def test_errors_of_the_token_function(self) -> None:
        self.assertEqual(self.backoff.after(Ending(OSError("no route"))), Step(pause=1))
        self.assertTrue(self.backoff.after(Ending(NoMoreTokens())).stop)
