import pytest
import torch

from leukoscope.training.threads import CpuSeconds, ThreadControl, choose_threads, read_cpu_seconds


class Machine:
    """Two cores on which others take a number of seconds in each second of the clock."""

    def __init__(self):
        self.others = 0.0
        self.now = CpuSeconds(0.0, 0.0, 0.0)

    def run(self, seconds, own=1.5):
        clock, busy, used = self.now
        self.now = CpuSeconds(
            clock + seconds, busy + seconds * (own + self.others), used + seconds * own
        )

    def read(self):
        return self.now


@pytest.fixture
def machine():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Machine()
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("others", "cores", "threads"),
    [(0, 2, 2), (0.3, 2, 2), (0.5, 2, 1), (1, 2, 1), (5, 2, 1), (1, 16, 4), (13.2, 16, 3)],
)
def test_as_many_threads_as_cores_are_free(others, cores, threads):
    after = CpuSeconds(10, 10 * (others + 1.5), 15)
    assert choose_threads(CpuSeconds(0, 0, 0), after, cores, 4 if cores > 2 else 2) == threads


def test_threads_go_when_others_come_and_come_back(machine):
    control = ThreadControl(cores=2, read=machine.read, fixed=False)
    taken = []
    for others in (0, 0, 1, 1, 1, 0, 0):
        machine.others = others
        machine.run(3)
        control.update()
        taken.append(torch.get_num_threads())
    assert taken == [2, 2, 1, 1, 1, 2, 2]


def test_an_undisturbed_run_keeps_its_number(machine):
    control = ThreadControl(cores=2, read=machine.read, fixed=False)
    for _ in range(20):
        machine.run(0.5)
        assert control.update() is None


def test_the_number_of_the_start_comes_back(machine):
    control = ThreadControl(cores=2, read=machine.read, fixed=False)
    control.update()
    machine.others = 2
    machine.run(3)
    assert control.update() == 1
    control.release()
    assert torch.get_num_threads() == 2


def test_a_number_from_the_environment_is_kept(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    control = ThreadControl(cores=2, read=machine.read)
    control.update()
    machine.others = 2
    machine.run(3)
    assert control.update() is None and torch.get_num_threads() == 2


def test_the_clocks_of_this_machine_go_forward():
    before = read_cpu_seconds()
    sum(range(3_000_000))
    after = read_cpu_seconds()
    assert after.clock > before.clock and after.own > before.own and after.busy >= before.busy
