"""The words of columns' names, and what they tell."""

from __future__ import annotations

import pytest

from pipelines.init import names
from tests.pipelines.init.small_logs import STYLES, styled


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("words", ["user id", "event time", "is click", "sample weight", "play time ms", "ad id",
                                   "customer key", "created at", "visitor id", "price"])
def test_a_name_has_its_words_in_any_case_style(words, style):
  assert names.words(styled(words, style)) == tuple(words.split())


@pytest.mark.parametrize("name", ["userId", "USERID", "uid", "visitorid", "item", "adId", "asin", "device_hash", "UUID",
                                  "time_id", "dateKey", "客户_id"])
def test_ids(name):
  assert names.is_id(name) and not names.is_time(name)


@pytest.mark.parametrize("name", ["ts", "TS", "eventTime", "EVENTTIME", "time_ms", "timestampMillis", "createdAt",
                                  "unixReviewTime", "log.date", "time_stamp", "when", "t", "datetime_utc", "updated"])
def test_times(name):
  assert names.is_time(name) and not names.is_id(name) and not names.is_outcome(name)


@pytest.mark.parametrize("name", ["paid", "valid", "candidate", "update", "video_width", "lifetime", "usage", "latex"])
def test_words_that_begin_or_end_alike_are_neither(name):
  assert not names.is_time(name) and name == "video_width" or not names.is_id(name)


@pytest.mark.parametrize("name", ["label2", "isLiked", "IS_LIKED", "playTime", "watch_time_ms", "dwell", "long_view",
                                  "purchased", "rating", "wasClicked"])
def test_outcomes(name):
  assert names.is_outcome(name) and not names.is_time(name)


def test_which_label_is_the_most_telling_one():
  ranked = sorted(["purchase", "isClick", "liked", "LABEL", "clk"], key=names.label_rank)
  assert ranked == ["LABEL", "isClick", "clk", "purchase", "liked"]
  assert names.label_rank("label2") is None and names.label_rank("click_count") is None
