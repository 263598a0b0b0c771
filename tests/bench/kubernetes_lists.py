"""Lists a cluster's Secrets again and again and prints, after each time, the process' memory in MiB."""

import asyncio
import gc
import sys

import psutil
import uvloop

from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock
from collectors.kubernetes import KubernetesCollector, KubernetesConfig


async def main(kubeconfig: str, times: int) -> None:
    config = KubernetesConfig.model_validate(
        {"kubeconfig": kubeconfig, "sources": ["secrets"], "exclude_secret_types": []}
    )
    collector = KubernetesCollector("prod", config, CollectorContext(clock=FakeClock()))
    for _ in range(times):
        count = 0
        async for _each in collector.collect():
            count += 1
        assert count
        gc.collect()
        print(psutil.Process().memory_info().rss / (1 << 20), flush=True)
        await asyncio.sleep(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
