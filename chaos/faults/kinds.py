"""From a fault's model to what injects it."""

from __future__ import annotations

from typing import assert_never

from chaos.domain import scenario as models
from chaos.faults.base import Injector
from chaos.faults.connection_leak import ConnectionLeakInjector
from chaos.faults.database_setting import DatabaseSettingInjector
from chaos.faults.proxy_down import ProxyDownInjector
from chaos.faults.proxy_toxic import ProxyToxicInjector
from chaos.faults.restart_loop import RestartLoopInjector
from chaos.faults.service_environment import ServiceEnvironmentInjector


def injector(fault: models.Fault) -> Injector:
    """Return what injects ``fault``."""
    match fault:
        case models.ProxyDown():
            return ProxyDownInjector(fault)
        case models.ProxyToxic():
            return ProxyToxicInjector(fault)
        case models.ServiceEnvironment():
            return ServiceEnvironmentInjector(fault)
        case models.DatabaseSetting():
            return DatabaseSettingInjector(fault)
        case models.RestartLoop():
            return RestartLoopInjector(fault)
        case models.ConnectionLeak():
            return ConnectionLeakInjector(fault)
    assert_never(fault)
