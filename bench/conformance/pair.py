"""Two processes of one training, kept alive so that many tests share what starting them costs."""

import multiprocessing
import pickle
import traceback

import torch
from torch._C._distributed_c10d import TCPStore

from bench import distributed

PATIENCE = 300.0  # seconds until a call counts as hanging


def _serve(rank, port, pipe):
    torch.set_num_threads(1)
    with distributed.joined(rank, 2, TCPStore("localhost", port)):
        while True:
            function, given = pickle.loads(pipe.recv_bytes())
            try:
                reply = (True, function(*given))
            except Exception:
                reply = (False, traceback.format_exc())
            pipe.send_bytes(pickle.dumps(reply))


class Pair:
    """Calls a function of a test module in both processes at once and returns both answers."""

    def __init__(self):
        self._store = TCPStore("localhost", 0, is_master=True)
        context = multiprocessing.get_context("forkserver")  # what both import is imported once
        context.set_forkserver_preload([__name__, "bench.conformance.test_processes"])
        self._pipes, self._processes = [], []
        for rank in range(2):
            mine, theirs = context.Pipe()
            given = (rank, self._store.port, theirs)
            process = context.Process(target=_serve, args=given, daemon=True)
            process.start()
            self._pipes.append(mine)
            self._processes.append(process)

    def __call__(self, function, *given):
        for pipe in self._pipes:  # as bytes: tensors in an object would be shared, not copied
            pipe.send_bytes(pickle.dumps((function, given)))
        return [self._reply(pipe) for pipe in self._pipes]

    def _reply(self, pipe):
        assert pipe.poll(PATIENCE), "the pair hangs"
        good, reply = pickle.loads(pipe.recv_bytes())
        assert good, reply
        return reply

    def end(self):
        for process in self._processes:
            process.kill()  # their own way out takes seconds
            process.join()
