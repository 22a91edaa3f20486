"""Kernels for the tests of notebooks: forks of one process that has imported what most want.
Importing PyTorch and its like anew for each of them would take as long as the notebooks themselves.
Nothing of ours is imported there: every notebook begins without it."""
import atexit
import gc
import multiprocessing
import multiprocessing.forkserver
import os
import sys
import threading
import time
from pathlib import Path

from jupyter_client import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

OURS = {Path(__file__).resolve().parent, Path(__file__).resolve().parents[1] / "tools"}
WANTED = [
    "ipykernel.kernelapp", "IPython.core.completer", "matplotlib.pyplot", "networkx", "ipywidgets",
    "torch", "torch._dynamo", "torchvision", "accelerate", "safetensors.torch", "PIL.Image",
]
FORKS = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")


def ends_with(process):
    "This process ends when that one, by its number, is gone."
    while Path(f"/proc/{process}").exists(): time.sleep(1)
    os._exit(1)


def be_kernel(tests, file, surroundings, folder):
    """This process is a kernel from now on: reached as `file` says, with these variables, there; as
    long as the process of the tests."""
    from ipykernel.kernelapp import IPKernelApp
    gc.freeze()  # what was inherited is not looked through, so it stays shared
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(surroundings)
    sys.path[:] = [p for p in sys.path if Path(p).resolve() not in OURS]
    threading.Thread(target=ends_with, args=[tests], daemon=True).start()
    # it is nobody's child but the server's, and so it need not look after its parent itself
    alone = "--IPKernelApp.parent_handle=0"
    IPKernelApp.launch_instance(argv=["-f", file, "--log-level=ERROR", alone])
    atexit._run_exitfuncs()  # multiprocessing leaves without them, and temporary folders would stay


class ForkProvisioner(LocalProvisioner):
    "Starts a fork where the usual one starts an interpreter."
    async def launch_kernel(self, cmd, **kwargs):
        from sgdiff.app.kernels import KernelProcess  # here: a kernel imports this file
        wake_server()
        given = os.getpid(), self.parent.connection_file, dict(kwargs["env"]), kwargs["cwd"]
        process = FORKS.Process(target=be_kernel, args=given)
        process.start()
        self.process, self.pid = KernelProcess(process), process.pid
        return self.connection_info


class ForkedKernel(AsyncKernelManager):
    "The manager of one such kernel, as `run_notebooks.execute` takes it."
    async def _async_pre_start_kernel(self, **kwargs):
        self.kernel_id = self.kernel_id or kwargs.get("kernel_id", "fork")
        self.provisioner = ForkProvisioner(
            kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self
        )
        return await super()._async_pre_start_kernel(**kwargs)


def wake_server():
    "The process to be forked is there; its figures go into notebooks."
    FORKS.set_forkserver_preload(WANTED)
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    try: multiprocessing.forkserver.ensure_running()
    finally: del os.environ["MPLBACKEND"]
