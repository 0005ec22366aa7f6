"""The configuration of a run that is built: read by all, changed by nobody."""

import copy
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ReadonlyConfigError

from amago_jax.errors import ConfigError


def freeze(config: DictConfig) -> DictConfig:
    """Return a copy that refuses to be changed, and says what to do instead."""
    frozen = thaw(config)
    OmegaConf.set_readonly(frozen, True)
    _let_explain(frozen)
    return frozen


def thaw(config: DictConfig) -> DictConfig:
    """Return a copy that can be changed."""
    thawed = copy.deepcopy(config)
    OmegaConf.set_readonly(thawed, None)
    return thawed


class _FrozenDict(DictConfig):
    """A dictionary of a frozen configuration; copies of it can be changed."""

    def __copy__(self) -> DictConfig:
        return thaw(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> DictConfig:
        copied = super().__deepcopy__(memo)
        OmegaConf.set_readonly(copied, None)
        return copied

    def _format_and_raise(self, key: Any, value: Any, cause: Exception, *more: Any, **named: Any):
        _explain(self, key, cause)
        super()._format_and_raise(key, value, cause, *more, **named)


class _FrozenList(ListConfig):
    """A list of a frozen configuration."""

    def _format_and_raise(self, key: Any, value: Any, cause: Exception, *more: Any, **named: Any):
        _explain(self, key, cause)
        super()._format_and_raise(key, value, cause, *more, **named)


def _explain(node: DictConfig | ListConfig, key: Any, cause: Exception) -> None:
    """Say what to do instead, if what was tried is to write to what is read only."""
    if isinstance(cause, ReadonlyConfigError):
        name = node._get_full_key(key)
        raise ConfigError(
            f"{name}: a run's config says what it was built of, and is not changed by writing "
            f"to it; run.change(['{name}=...']) changes what can be"
        ) from cause


def _let_explain(node: Any) -> None:
    """Give containers, from here down, the classes above; OmegaConf makes plain ones of copies."""
    if isinstance(node, DictConfig) and not (node._is_none() or node._is_interpolation()):
        object.__setattr__(node, "__class__", _FrozenDict)
        children: list[Any] = [node._get_node(key) for key in node]
    elif isinstance(node, ListConfig) and not (node._is_none() or node._is_interpolation()):
        object.__setattr__(node, "__class__", _FrozenList)
        children = [node._get_node(index) for index in range(len(node))]
    else:
        return
    for child in children:
        _let_explain(child)
