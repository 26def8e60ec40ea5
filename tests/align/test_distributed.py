"""Two processes have the loss and the gradients of one: uneven rows, none on one process, items that cross."""

import pytest
import torch

from modalign.align.distributed import gather_columns, gather_rows, over_all_rows, processes, row_counts
from modalign.align.losses import distributed_losses
from tests.align import shares


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of the two processes computed."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(shares.work, (str(folder),), nprocs=shares.PROCESSES, daemon=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(shares.PROCESSES)]


def test_every_loss_that_claims_it_is_tried():
    assert {name.split()[0].rstrip(",") for name in shares.LOSSES} - {"plain"} == set(distributed_losses())


@pytest.mark.parametrize("groups", shares.GROUPS)
@pytest.mark.parametrize("split", shares.SPLITS)
@pytest.mark.parametrize("name", shares.LOSSES)
def test_two_processes_are_one(found, name, split, groups):
    loss, options = shares.LOSSES[name]
    whole = shares.computed(loss, options, shares.GROUPS[groups])
    parts = [one[f"{name}/{split}/{groups}"] for one in found]
    for part in parts:
        torch.testing.assert_close(part["value"], whole["value"], rtol=0, atol=1e-9)
    for leaf in whole.keys() - {"value"}:
        joined = torch.cat if leaf in ("x", "y") else sum  # rows are one process's; shares of a scalar's add up
        torch.testing.assert_close(joined([part[leaf] for part in parts]), whole[leaf], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", shares.LOSSES)
def test_no_rows_anywhere_are_no_loss(found, name):
    for one in found:
        assert all(not t.any() for t in one[f"{name}/nothing"].values())


@pytest.mark.parametrize("name", shares.LOSSES)
def test_alone_a_process_has_its_own_rows_loss(found, name):
    whole = shares.computed(*shares.LOSSES[name], None)
    for one in found:
        torch.testing.assert_close(one[f"{name}/alone"], whole)


def test_groups_of_one_process_alone_are_refused_by_all(found):
    assert {one["refused"] for one in found} == {
        "columns of groups by process: [0, 2]; every process gives the same, or none"
    }


def test_without_a_process_group_nothing_is_gathered():
    rows = torch.ones(3, 2)
    assert processes() == 1
    assert row_counts(3, rows.device) == [3]
    assert gather_rows(rows, [3]) is rows
    assert gather_columns(rows, None).values is rows
    assert over_all_rows(shares.plain)(rows, rows, torch.tensor(1.0)) == shares.plain(rows, rows, torch.tensor(1.0))
