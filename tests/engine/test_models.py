"""Loading a base, its words for the answers, and its forward paths, which agree."""

import hashlib
import shutil
from collections import OrderedDict
from dataclasses import replace
from types import SimpleNamespace

import engine_factory as factory
import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from engine_factory import FAST_FAMILIES
from messages import raises

from tools.glimpse_bases import tokenizer
from tools.glimpse_bases.export import save_base
from transferscope.engine.base_model import hash_folder, load_base, load_model
from transferscope.engine.forward_paths import forward_path
from transferscope.engine.linears import language_linears, target_linears
from transferscope.engine.qwen_path import QwenPath
from transferscope.engine.records import CacheLimits
from transferscope.engine.reply_tokens import OptionTokens, distinct_tokens, option_tokens
from transferscope.engine.vision_cache import VisionCache
from transferscope.errors import DataError, StudyError
from transferscope.tasks import ArrayImage, fingerprint

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def small():
    return factory.small_base()


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    where = tmp_path_factory.mktemp("bases") / "own"
    return save_base(small.model, small.processor, where)


# Loading.


def test_a_folder_becomes_a_frozen_base(folder):
    base = load_base(folder)
    assert (base.name, base.dtype, base.device.type) == ("own", torch.float32, "cpu")
    assert not any(weight.requires_grad for weight in base.model.parameters())
    assert not base.model.training
    assert base.weights_hash == hash_folder(folder)
    assert load_base(str(folder), name="mine", precision="bfloat16").dtype == torch.bfloat16


def test_other_weights_have_another_hash(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    path = other / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert hash_folder(other) != hash_folder(folder)


def test_a_hash_is_of_all_that_answers_come_from_in_one_order_for_every_process(folder, tmp_path):
    """A chat template decides too, and so does which file something stands in."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for name in ("chat_template.jinja", "merges.txt", "spiece.model", "README.md"):
        (other / name).write_text(name)
    content = hashlib.sha256()
    for path in sorted(other.iterdir()):
        if path.name != "README.md":
            content.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    assert hash_folder(other) == content.hexdigest()


def test_adapters_are_added_to_no_weights_that_would_round_them(small):
    assert (small.mergeable, factory.small_base(torch.bfloat16).mergeable) == (True, False)


@pytest.mark.parametrize("where", ["glimpse-x", "no such folder", "./missing/folder/here"])
def test_an_unknown_base_is_named(where):
    with raises(StudyError):
        load_base(where)


def test_a_folder_without_safetensors_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with raises(DataError):
        load_base(tmp_path)


def test_a_pickle_is_not_read_where_the_safetensors_are_anothers(folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "model.safetensors").rename(other / "adapter.safetensors")
    (other / "pytorch_model.bin").write_bytes(b"x")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was read"))
    with raises(DataError):
        load_base(other)


def test_damaged_weights_are_refused_in_one_line(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "model.safetensors").write_bytes(b"nothing")
    with raises(DataError) as refused:
        load_base(other)
    assert "\n" not in str(refused.value)


def test_a_base_that_does_not_fit_is_told_so_and_not_called_damaged(folder, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64 GiB\nmore")

    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", full)
    with raises(StudyError):
        load_base(folder)
    with pytest.raises(torch.OutOfMemoryError):  # a shard's, which is tried again with fewer
        load_model(folder, torch.float32, [torch.device("cpu")])


def test_max_pixels_limits_what_the_model_sees(folder):
    item = factory.items(1)[0]
    path = forward_path(load_base(folder, max_pixels=56 * 56), [item], "qwen2_5_vl")
    assert path.encode([item])[0].grids == ((1, 4, 4),)


# Words.


def test_the_letters_of_an_embedded_base_are_single_tokens(small):
    assert option_tokens(small.processor) == OptionTokens(
        (), tuple((i,) for i in tokenizer.letters())
    )


@pytest.mark.parametrize(
    ("written", "stem", "tails", "single"),
    [
        ([(1, 7), (2, 7)], (), ((1,), (2,)), True),  # "(A" and ")"
        ([(9, 1, 7), (9, 2, 7)], (9,), ((1,), (2,)), True),  # "(", "A", ")"
        ([(9, 1, 3), (9, 1, 4), (9, 2, 4)], (9,), ((1, 3), (1, 4), (2,)), False),
    ],
)
def test_answers_are_told_apart_by_their_first_tokens(written, stem, tails, single):
    found = distinct_tokens(written)
    assert found == OptionTokens(stem, tails)
    assert all(len(one) == 1 for one in found.suffixes) is single


def test_letters_that_are_written_alike_are_refused():
    with raises(DataError):
        distinct_tokens([(1, 2), (1, 2)])


# Layers.


@pytest.mark.parametrize("family", [*FAST_FAMILIES, "llava"])
def test_adapters_change_the_language_model_alone(family):
    base = factory.family_base(family)
    found = language_linears(base.model)
    assert len(found) == 7 * factory.TEXT["num_hidden_layers"]
    assert all(module is base.model.get_submodule(name) for name, module in found.items())
    assert not [name for name in found if "visual" in name or "vision" in name or "head" in name]
    assert len(target_linears(base.model, ("q_proj",))) == factory.TEXT["num_hidden_layers"]


def test_an_unknown_target_layer_is_named(small):
    with raises(StudyError):
        target_linears(small.model, ("q_prj",))


# Paths.


def both(base, items, fast, said=(), read=1):
    """What a fast path and the plain one say, the plain one row by row."""
    found = []
    with torch.no_grad():
        path, plain = forward_path(base, items), forward_path(base, items, "reference")
        assert type(path).__name__ == fast
        rows = [row._replace(answer_ids=said) for row in path.encode(items)]
        found.append(path.logits(rows, read))
        rows = [row._replace(answer_ids=said) for row in plain.encode(items)]
        found.append(torch.cat([plain.logits([row], read) for row in rows]))
    return found


def test_the_embedded_path_agrees_with_the_plain_one(small):
    fast, plain = both(small, factory.items(6, None), "GlimpsePath", (9, 10), 2)
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_the_fast_path_of_a_family_agrees_with_the_plain_one(family):
    base = factory.family_base(family)
    fast, plain = both(base, factory.items(5, None, size=None), "QwenPath", (9, 10), 2)
    assert fast.std() > 0.1
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAST_FAMILIES)
def test_rows_that_are_alike_but_for_a_length_or_a_pictures_side_keep_their_own_places(family):
    """The places of a row's tokens are kept for the next one of its shape."""
    base = factory.family_base(family)
    sizes = [(56, 112), (112, 56), (112, 56), (56, 112)]
    items = [item for seed, size in enumerate(sizes) for item in factory.items(3, 2, seed, size)]
    swapped = [replace(one, images=two.images) for one, two in zip(items, items[3:], strict=False)]
    fast, plain = both(base, [*items, *swapped], "QwenPath", (9, 10), 2)
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)


def test_on_a_cpu_pictures_are_looked_at_one_by_one(monkeypatch):
    """Others beside one would round its features, and a study that goes on would end otherwise."""
    calls, look = [], QwenPath._encode
    monkeypatch.setattr(
        QwenPath, "_encode", lambda self, some: calls.append(len(some)) or look(self, some)
    )
    base, items = factory.family_base("qwen2_5_vl"), factory.items(2, 2, size=(56, 56))
    path = forward_path(base, items)
    path.logits(path.encode(items))
    assert calls == [1] * 4


def test_a_picture_too_thin_for_a_base_is_named_by_its_item():
    base, items = factory.family_base("qwen2_vl"), factory.items(1, 1, size=(2, 500))
    with raises(DataError):
        forward_path(base, items).encode(items)


def test_an_embedded_base_takes_pictures_of_any_size(small):
    fast, plain = both(small, factory.items(3, 2, size=None), "QwenPath")
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["qwen3_vl", "llava"])
def test_the_plain_path_pads_without_changing_anything(family):
    base = factory.family_base(family)
    items = factory.items(4, None, size=None)
    plain = forward_path(base, items, "reference")
    with torch.no_grad():
        rows = plain.encode(items)
        together, alone = plain.logits(rows), torch.cat([plain.logits([row]) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_text_that_holds_a_picture_token_is_refused():
    base = factory.family_base("qwen2_vl")
    (item,) = factory.items(1)
    bad = type(item)(**(vars(item) | {"prompt": "see <|image_pad|>"}))
    with raises(DataError):
        forward_path(base, [bad]).encode([bad])


# Vision features.


def pictures(count):
    draw = np.random.default_rng(0)
    return [ArrayImage(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)) for _ in range(count)]


def looking(calls):
    def look(some):
        calls.append(len(some))
        return [torch.tensor(one.pixels().reshape(-1, 3), dtype=torch.float32) for one in some]

    return look


def test_each_distinct_picture_is_looked_at_once():
    calls, some = [], pictures(5)
    cache = VisionCache(looking(calls), 2, CacheLimits())
    first = cache.features([*some, some[0]])
    again = cache.features(some[::-1])
    assert calls == [2, 2, 1]
    assert all(torch.equal(a, b) for a, b in zip(first[:5], again[::-1], strict=True))
    assert torch.equal(first[5], first[0])


def test_the_same_pixels_have_the_same_key():
    array = np.zeros((4, 6, 3), np.uint8)
    assert fingerprint(ArrayImage(array)).key == fingerprint(ArrayImage(array.copy())).key
    assert fingerprint(ArrayImage(array)).key != fingerprint(ArrayImage(array.reshape(6, 4, 3))).key


def test_a_picture_is_read_once():
    class File:
        reads = 0

        def pixels(self):
            self.reads += 1
            return np.zeros((4, 6, 3), np.uint8)

    picture = File()
    assert fingerprint(picture) == fingerprint(picture)
    assert fingerprint(picture).shape == (4, 6, 3)
    assert picture.reads == 1


ONE = 16 * 3 * 4
"""Bytes of a picture's features in these tests."""
FILE = len(safetensors.torch.save({"features": torch.zeros(16, 3)}))
"""Bytes of the file that holds them."""


def test_the_memory_of_features_keeps_to_its_budget():
    calls, some = [], pictures(5)
    cache = VisionCache(looking(calls), 8, CacheLimits(memory=3 * ONE))
    whole = cache.features(some)
    assert cache.bytes_held == 3 * ONE
    again = cache.features(some)
    assert calls == [5, 2]
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_features_that_nobody_used_for_longest_are_given_up_and_none_keeps_its_batch():
    calls, (one, two, three) = [], pictures(3)
    look = looking(calls)
    cache = VisionCache(lambda some: list(torch.stack(look(some))), 8, CacheLimits(memory=2 * ONE))
    for some in ([one, two], [one], [three], [one], [two]):
        (*_, last) = cache.features(some)
        assert last.untyped_storage().nbytes() == ONE
    assert calls == [2, 1, 1]


def test_memory_keeps_what_was_used_last_and_the_disk_all_others(tmp_path):
    calls, some = [], pictures(8)
    cache = VisionCache(
        looking(calls), 1, CacheLimits(memory=3 * ONE, folder=tmp_path, disk=8 * FILE)
    )
    draw, used = np.random.default_rng(0), []
    for one in map(int, draw.integers(0, 8, 60)):
        used.append(one)
        (found,) = cache.features([some[one]])
        assert torch.equal(found, torch.tensor(some[one].pixels().reshape(-1, 3)).float())
        last = list(dict.fromkeys(used[::-1]))[2::-1]
        assert list(cache._kept) == [fingerprint(some[its]).key for its in last]
    assert len(calls) == 8
    assert cache.bytes_held == 3 * ONE


def test_features_from_disk_come_to_where_new_ones_are(tmp_path):
    limits, some = CacheLimits(memory=0, folder=tmp_path), pictures(1)
    VisionCache(looking([]), 8, limits).features(some)
    there = VisionCache(looking([]), 8, CacheLimits(folder=tmp_path), device=torch.device("meta"))
    assert [there.features(some)[0].device.type for _ in range(2)] == ["meta"] * 2


def test_features_are_kept_under_all_that_they_depend_on():
    """Else a study with other pictures' sizes, or another type, would take these for its own."""
    small, pictures = factory.small_base(), SimpleNamespace(image_processor=object())
    bases = [
        small,
        replace(small, weights_hash="b" * 64),
        replace(small, max_pixels=56 * 56),
        replace(small, max_pixels=56 * 28),
        replace(small, processor=pictures),
        factory.small_base(torch.bfloat16),
    ]
    bases[-1] = replace(bases[-1], weights_hash=small.weights_hash)
    names = [base.cache_name(path) for base in bases for path in ("qwen", "small")]
    assert len(set(names)) == 12


def test_what_does_not_fit_in_memory_goes_to_disk_and_what_fits_nowhere_is_computed(tmp_path):
    calls, some = [], pictures(6)
    budget = CacheLimits(memory=2 * ONE, folder=tmp_path, disk=3 * FILE)
    cache = VisionCache(looking(calls), 8, budget)
    whole = cache.features(some)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    again = [*cache.features(some[3:]), *cache.features(some[:1])]
    assert calls == [6, 1]
    assert all(map(torch.equal, again, [*whole[3:], whole[0]]))
    next_one = VisionCache(looking(calls), 8, budget)  # in a later process
    next_one.features(some)
    assert calls == [6, 1, 3]
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3


@pytest.mark.parametrize("capacity", [4, 12, 99])
def test_the_disk_keeps_what_was_used_last(capacity, tmp_path):
    """Eight adapters of a 7B: three epochs over an adapter's images, then all targets' images."""
    draw, some = np.random.default_rng(0), pictures(8 * 5 + 3)
    targets, used = range(40, 43), []
    for adapter in range(8):
        own = range(5 * adapter, 5 * adapter + 5)
        used += [int(k) for _ in range(3) for k in draw.permutation(own)] + [*targets]
    kept, missed = OrderedDict(), 0  # the same, by hand
    for one in used:
        missed += kept.pop(one, None) is None
        kept[one] = True
        if len(kept) > capacity:
            kept.popitem(last=False)
    calls, budget = [], CacheLimits(memory=0, folder=tmp_path, disk=capacity * FILE)
    for adapter in range(8):  # each in another process
        cache = VisionCache(looking(calls), 1, budget)
        for one in used[18 * adapter : 18 * adapter + 18]:
            cache.features([some[one]])
        assert len(list(tmp_path.rglob("*.safetensors"))) <= capacity
    assert sum(calls) == missed
    if capacity >= 12:
        assert sum(calls) == 43  # no image is encoded twice


def test_what_another_process_uses_stays_on_the_disk(tmp_path):
    calls, (one, two, three) = [], pictures(3)
    budget = CacheLimits(memory=0, folder=tmp_path, disk=2 * FILE)
    ours, other = (VisionCache(looking(calls), 1, budget) for _ in range(2))
    for cache, image in ((ours, one), (ours, two), (other, one), (ours, three), (other, one)):
        cache.features([image])
    assert calls == [1, 1, 1]  # two was dropped, not one


def test_damaged_features_on_disk_are_computed_again(tmp_path):
    calls, some = [], pictures(1)
    budget = CacheLimits(memory=0, folder=tmp_path)
    (whole,) = VisionCache(looking(calls), 8, budget).features(some)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:20])
    for _ in range(2):
        (again,) = VisionCache(looking(calls), 8, budget).features(some)
        assert torch.equal(whole, again)
    assert calls == [1, 1]


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    cache = VisionCache(looking([]), 8, CacheLimits(memory=0, folder=tmp_path / "file"))
    assert len(cache.features(pictures(3))) == 3


def test_little_room_changes_no_score(tmp_path):
    items = factory.items(4, 2, size=None)
    base = factory.family_base("qwen3_vl")
    tight = replace(base, paths={}, cache_limits=CacheLimits(0, tmp_path, 4 * 10**4))
    found = []
    for its in (base, tight, tight):
        path = forward_path(its, items)
        with torch.no_grad():
            found.append(path.logits(path.encode(items)))
    assert 0 < len(list(tmp_path.rglob("*.safetensors"))) < 8
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
