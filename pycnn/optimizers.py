"""Optimizers: how a gradient changes the parameters. The arithmetic is in the backends.

In the formulas g is the gradient of the mini-batch's mean loss, eta the learning rate, theta the
parameters, and t the number of the update, from 1. Everything an optimizer remembers starts as 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pycnn import schedules
from pycnn._checks import LARGEST, Settings, check_bool, check_real, check_size, look_up
from pycnn._data.arrays import LEAST_WEIGHT, MOST_WEIGHT
from pycnn._public import names_of
from pycnn.backend.interface import OptimizerSpec, TrainingState
from pycnn.exceptions import DataError, DataTypeError

if TYPE_CHECKING:
    from typing import Protocol

    from pycnn._typing import Array, ArrayLike

    class Trainable(Protocol):
        """What a step changes: a `Network`."""

        @property
        def parameters(self) -> Array:
            """All parameters, flat."""
            ...

        def take_step(
            self,
            gradient: ArrayLike,
            weight: float,
            state: TrainingState,
        ) -> None:
            """Change the parameters, and what the optimizer remembers."""


__all__ = [
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "OptimizerState",
    "RMSprop",
    "Rprop",
]
__dir__ = names_of(__name__)


class OptimizerState:
    """What an optimizer remembers from step to step; `Optimizer.apply` returns and changes it.

    It can be pickled and deep-copied: together with the parameters it is all that a loop of one's
    own needs to go on later.

    Attributes
    ----------
    steps : int
        Calls of `Optimizer.apply` so far, also those with a weight of 0.
    updates : int
        Those that changed the parameters.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network(1, [Dense(1)], seed=0)
    >>> _, gradient, weight = net.gradients([[1]], [2], reduction="sum")
    >>> Adam().apply(net, gradient, weight=weight)
    <state of adam after 1 steps: 2 x 2 numbers>
    """

    def __init__(self, optimizer: str, state: TrainingState) -> None:
        self._optimizer = optimizer
        self._state = state  # which a step changes as a whole or not at all

    @property
    def steps(self) -> int:
        """Calls of `Optimizer.apply` so far."""
        return self._state.steps

    @property
    def updates(self) -> int:
        """Changes of the parameters so far."""
        return self._state.updates

    def __repr__(self) -> str:
        slots, parameters = self._state.slots.shape
        size = f"{slots} x {parameters} numbers"
        return f"<state of {self._optimizer} after {self.steps} steps: {size}>"


class Optimizer(Settings):
    """Base of the optimizers: settings, which do not change; a fit keeps what it remembers.

    All take the arguments ``clip_value``, to which the components of the gradient are held, and
    ``clip_norm``, to which a gradient of a larger norm is scaled down (Pascanu et al. 2013); where
    both are given, values are clipped first. With `clip_norm` the history has ``"gradient_norm"``,
    the mean over an epoch's mini-batches of the norm before it is scaled. ``learning_rate`` also
    takes a schedule of `pycnn.schedules`. `LBFGS` alone has no learning rate and cannot clip.

    Examples
    --------
    >>> optimizer = Adam(schedules.CosineDecay(0.01), clip_norm=1.0)
    >>> optimizer.schedule().rates([0, 50, 100], 1, 100).round(6).tolist()
    [0.01, 0.005, 2e-06]
    """

    name: str
    kind: str
    learning_rate: float | schedules.Schedule
    clip_value: float | None
    clip_norm: float | None

    def _settle(self, **settings: Any) -> None:
        rate = settings["learning_rate"]
        if not isinstance(rate, schedules.Schedule):
            settings["learning_rate"] = check_real(rate, "learning_rate", above=0)
        for clip in ("clip_value", "clip_norm"):
            if settings[clip] is not None:
                settings[clip] = check_real(settings[clip], clip, above=0)
        super()._settle(**settings)

    def schedule(self) -> schedules.Schedule:
        """Return the learning rate as a schedule."""
        return schedules.get(self.learning_rate)

    def _own(self) -> dict[str, Any]:
        """Return what this kind sets of an `OptimizerSpec`: its settings, and slots if any."""
        return {}

    def spec(self) -> OptimizerSpec:
        """Return the settings as a backend reads them."""
        return OptimizerSpec(
            self.kind,
            clip_value=self.clip_value or 0.0,
            clip_norm=self.clip_norm or 0.0,
            **self._own(),
        )

    def new_slots(self, parameters: int) -> Array:
        """Return its memory before the first step: a row of so many zeros a slot."""
        return np.zeros((self.spec().slots, parameters))

    def apply(
        self,
        net: Trainable,
        gradient: ArrayLike,
        state: OptimizerState | None = None,
        *,
        weight: float,
        learning_rate: float | None = None,
    ) -> OptimizerState:
        """Do one step of training on a network, by a gradient that you have.

        It does what `Network.fit` does with the gradient of a mini-batch: penalties are added, the
        mean over the samples is clipped and becomes a step, and max-norms are held. So a loop of
        ``net.gradients(..., reduction="sum", training=True)`` and `apply` over the mini-batches of
        a fit ends in the fit's bits, and gradients of several pieces, or from several machines,
        can be added in between, and their weights.

        Parameters
        ----------
        net : Network
            Its parameters change.
        gradient : array-like of shape (parameters,)
            The sum over samples that ``net.gradients(..., reduction="sum")`` returns, without the
            penalty.
        state : OptimizerState, optional
            What the step before has returned; it changes, too. Without it a training begins.
        weight : float
            The sum of the samples' weights: their number, where they have none. With 0 nothing
            changes, but the step counts for the schedule.
        learning_rate : float, optional
            That of this step. By default the optimizer's own; where that is a schedule, each step
            counts as an epoch, as in `Network.train_on_batch`. For a schedule by mini-batches take
            ``schedule.rates(step, steps_per_epoch, total_steps)``.

        Returns
        -------
        OptimizerState
            To be handed to the next step.

        Raises
        ------
        ShapeError, DataTypeError, DataError
            If an argument is not valid, the gradient not finite, the state that of another kind of
            optimizer or of another number of parameters; if the schedule depends on the length of
            the training, or the optimizer is `LBFGS`, which has no single steps. Nothing has
            changed then.
        BusyError
            If the network is being trained.
        DivergedError
            If a parameter would not be finite; nothing has changed then.

        Examples
        --------
        >>> import pycnn
        >>> net = pycnn.Network(1, [pycnn.Dense(1)], seed=0)
        >>> optimizer, state = Adam(0.1), None
        >>> for _ in range(500):
        ...     loss, gradient, weight = net.gradients([[0], [1]], [1, 3], reduction="sum")
        ...     state = optimizer.apply(net, gradient, state, weight=weight)
        >>> net.predict([[0], [1]]).round(3).ravel().tolist()
        [1.0, 3.0]
        """
        spec = self.spec()
        if isinstance(net, type) or not hasattr(net, "take_step"):
            raise DataTypeError(f"net must be a Network, got {net!r:.80}")
        weight = check_real(weight, "weight", at_least=0)
        if 0 < weight < LEAST_WEIGHT or weight > MOST_WEIGHT:
            raise DataError(
                f"weight must be 0, or {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}, got {weight:g}"
            )
        if state is None:
            slots = self.new_slots(net.parameters.size)
            state = OptimizerState(self.name, TrainingState(0, 1, 0.0, None, spec, slots))
        elif not isinstance(state, OptimizerState):
            raise DataTypeError(f"state must be what apply has returned, or None, got {state!r}")
        elif state._optimizer != self.name or state._state.slots.shape[0] != spec.slots:
            raise DataError(f"state must be that of {self!r}, got {state!r}")
        elif state._state.slots.shape[1] != net.parameters.size:
            raise DataError(
                f"state must be that of a network of {net.parameters.size} parameters, "
                f"got {state!r}"
            )
        if learning_rate is None:
            rate = self._rate_of(state.steps)
        else:
            rate = check_real(learning_rate, "learning_rate", at_least=0)
        state._state.optimizer, state._state.learning_rate = spec, rate
        net.take_step(gradient, weight, state._state)
        return state

    def _rate_of(self, step: int) -> float:
        """Return the learning rate of a step that counts as an epoch."""
        schedule = self.schedule()
        if schedule.needs_total:
            raise DataError(
                f"learning_rate must be given: {schedule!r} depends on the length of the whole "
                "training, which nobody knows here"
            )
        return float(schedule.rates(np.array([step]), 1, LARGEST)[0])

    def config(self) -> dict[str, Any]:
        """Return name and settings as plain data, from which `from_config` rebuilds the object."""
        settings = dict(vars(self))
        if isinstance(self.learning_rate, schedules.Schedule):
            settings["learning_rate"] = self.learning_rate.config()
        return {"name": self.name, **settings}


class SGD(Optimizer):
    """Gradient descent, ``theta <- theta - eta g`` (lecture, update rule).

    Batch, stochastic or mini-batch gradient descent, by `Network.fit`'s `batch_size`. With momentum
    ``v <- momentum v + g, theta <- theta - eta v`` (Polyak 1964); Nesterov's form takes
    ``g + momentum v`` instead of ``v`` (Sutskever et al. 2013).

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.1
        The step size eta (the lecture's alpha), above 0.
    momentum : float, default 0.0
        In [0, 1).
    nesterov : bool, default False
        Needs a momentum.
    clip_value, clip_norm : float, optional
        Above 0; see `Optimizer`.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> SGD(0.05, momentum=0.9)
    SGD(0.05, momentum=0.9)
    """

    name = kind = "sgd"
    momentum: float
    nesterov: bool

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        momentum = _fraction(momentum, "momentum")
        if check_bool(nesterov, "nesterov") and not momentum:
            raise DataError("nesterov=True needs a momentum above 0")
        self._settle(
            learning_rate=learning_rate,
            momentum=momentum,
            nesterov=bool(nesterov),
            clip_value=clip_value,
            clip_norm=clip_norm,
        )

    def _own(self) -> dict[str, Any]:
        slots = int(self.momentum != 0)
        return {"slots": slots, "momentum": self.momentum, "nesterov": self.nesterov}

    def __repr__(self) -> str:
        return _short_repr(self, SGD())


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): steps scaled by running moments of the gradient.

    ``m <- beta_1 m + (1 - beta_1) g``, ``v <- beta_2 v + (1 - beta_2) g^2``,
    ``theta <- theta - eta (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)``.

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
        In [0, 1).
    epsilon : float, default 1e-8
        Above 0.
    clip_value, clip_norm : float, optional
        Above 0; see `Optimizer`.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> Adam(0.01, beta_2=0.99)
    Adam(0.01, beta_2=0.99)
    """

    name = kind = "adam"
    beta_1: float
    beta_2: float
    epsilon: float

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self._settle(
            learning_rate=learning_rate,
            beta_1=_fraction(beta_1, "beta_1"),
            beta_2=_fraction(beta_2, "beta_2"),
            epsilon=check_real(epsilon, "epsilon", above=0),
            clip_value=clip_value,
            clip_norm=clip_norm,
        )

    def _own(self) -> dict[str, Any]:
        return {
            "slots": 2,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }

    def __repr__(self) -> str:
        return _short_repr(self, Adam())


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    As `Adam`, after ``theta <- theta - eta weight_decay theta``, for weights and biases alike.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon
        As for `Adam`.
    weight_decay : float, default 0.01
        At least 0.
    clip_value, clip_norm : float, optional
        Above 0; see `Optimizer`.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> AdamW(0.01, weight_decay=0.1)
    AdamW(0.01, weight_decay=0.1)
    """

    name = "adamw"
    kind = "adam"
    beta_1: float
    beta_2: float
    epsilon: float
    weight_decay: float

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self._settle(
            learning_rate=learning_rate,
            beta_1=_fraction(beta_1, "beta_1"),
            beta_2=_fraction(beta_2, "beta_2"),
            epsilon=check_real(epsilon, "epsilon", above=0),
            weight_decay=check_real(weight_decay, "weight_decay", at_least=0),
            clip_value=clip_value,
            clip_norm=clip_norm,
        )

    def _own(self) -> dict[str, Any]:
        return {
            "slots": 2,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "weight_decay": self.weight_decay,
        }

    def __repr__(self) -> str:
        return _short_repr(self, AdamW())


class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012): steps scaled by a running mean square of the gradient.

    ``s <- rho s + (1 - rho) g^2``, ``theta <- theta - eta g / (sqrt(s) + epsilon)``. Centered
    (Graves 2013), the running mean's square is subtracted from s; with momentum the scaled gradient
    goes through ``b <- momentum b + ...`` first.

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.01
    rho : float, default 0.99
        In [0, 1).
    epsilon : float, default 1e-8
        Above 0.
    momentum : float, default 0.0
        In [0, 1).
    centered : bool, default False
    clip_value, clip_norm : float, optional
        Above 0; see `Optimizer`.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> RMSprop(0.001, momentum=0.9)
    RMSprop(0.001, momentum=0.9)
    """

    name = kind = "rmsprop"
    rho: float
    epsilon: float
    momentum: float
    centered: bool

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 0.01,
        rho: float = 0.99,
        epsilon: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self._settle(
            learning_rate=learning_rate,
            rho=_fraction(rho, "rho"),
            epsilon=check_real(epsilon, "epsilon", above=0),
            momentum=_fraction(momentum, "momentum"),
            centered=check_bool(centered, "centered"),
            clip_value=clip_value,
            clip_norm=clip_norm,
        )

    def _own(self) -> dict[str, Any]:
        return {
            "slots": 1 + self.centered + (self.momentum != 0),
            "beta_2": self.rho,
            "epsilon": self.epsilon,
            "momentum": self.momentum,
            "centered": self.centered,
        }

    def __repr__(self) -> str:
        return _short_repr(self, RMSprop())


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): steps scaled by the sum of all squared gradients.

    ``s <- s + g^2``, ``theta <- theta - eta g / (sqrt(s) + epsilon)``.

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.01
    epsilon : float, default 1e-10
        Above 0.
    clip_value, clip_norm : float, optional
        Above 0; see `Optimizer`.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> Adagrad(0.1)
    Adagrad(0.1)
    """

    name = kind = "adagrad"
    epsilon: float

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 0.01,
        epsilon: float = 1e-10,
        *,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self._settle(
            learning_rate=learning_rate,
            epsilon=check_real(epsilon, "epsilon", above=0),
            clip_value=clip_value,
            clip_norm=clip_norm,
        )

    def _own(self) -> dict[str, Any]:
        return {"slots": 1, "epsilon": self.epsilon}

    def __repr__(self) -> str:
        return _short_repr(self, Adagrad())


class Rprop(Optimizer):
    """RPROP (Riedmiller & Braun 1993, as iRprop-: Igel & Huesken 2000): steps by the sign alone.

    Each parameter has a step of its own, at first the learning rate, which is multiplied by
    `increase` while its gradient keeps its sign and by `decrease` when that changes; then this
    gradient counts as 0. It is made for whole batches (``batch_size=None``): between mini-batches
    signs change by chance.

    Parameters
    ----------
    learning_rate : float or Schedule, default 0.01
        The first step; a schedule's later rates are not used.
    increase : float, default 1.2
        At least 1.
    decrease : float, default 0.5
        Above 0 and below 1.
    min_step, max_step : float, default 1e-6 and 50
        The bounds of a step, also of the first; above 0.
    clip_value, clip_norm : float, optional
        Above 0; see `Optimizer`. They cannot change a sign.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> from pycnn import Dense, Network
    >>> net = Network(1, [Dense(1)], seed=0)
    >>> history = net.fit([[0], [1]], [1, 3], epochs=100, batch_size=2, optimizer=Rprop())
    >>> history["loss"][-1] < 1e-3
    True
    """

    name = kind = "rprop"
    increase: float
    decrease: float
    min_step: float
    max_step: float

    def __init__(
        self,
        learning_rate: float | schedules.Schedule = 0.01,
        increase: float = 1.2,
        decrease: float = 0.5,
        min_step: float = 1e-6,
        max_step: float = 50.0,
        *,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        least = check_real(min_step, "min_step", above=0)
        most = check_real(max_step, "max_step", above=0)
        if most < least:
            raise DataError(f"max_step must be at least the min_step {least}, got {most}")
        check_real(decrease, "decrease", above=0)
        self._settle(
            learning_rate=learning_rate,
            increase=check_real(increase, "increase", at_least=1),
            decrease=_fraction(decrease, "decrease"),
            min_step=least,
            max_step=most,
            clip_value=clip_value,
            clip_norm=clip_norm,
        )

    def _own(self) -> dict[str, Any]:
        return {
            "slots": 2,
            "increase": self.increase,
            "decrease": self.decrease,
            "min_step": self.min_step,
            "max_step": self.max_step,
        }

    def config(self) -> dict[str, Any]:
        """Return name and settings; what has its default is left out, as it was in older files."""
        usual = vars(Rprop())
        return {
            key: value
            for key, value in super().config().items()
            if key not in ("increase", "decrease", "min_step", "max_step") or value != usual[key]
        }

    def __repr__(self) -> str:
        return _short_repr(self, Rprop())


class LBFGS(Optimizer):
    """L-BFGS (Liu & Nocedal 1989): quasi-Newton steps over the whole data, for small data sets.

    ``theta <- theta - eta H g``, where H approximates the inverse Hessian by the last
    `history_size` steps (Nocedal & Wright 2006, algorithm 7.5) and a line search finds an eta that
    satisfies the strong Wolfe conditions (there, algorithms 3.5 and 3.6, with c1 = 1e-4 and
    c2 = 0.9): there is no learning rate, hence no schedule, and the loss never grows.

    An epoch of `Network.fit` is one iteration, whatever the line search needs. ``batch_size`` must
    be None, or the data no more than a mini-batch; `shuffle` is of no effect. The history has the
    loss (and accuracy) *after* the iteration, and ``"gradient_norm"``. Before all epochs are done
    training ends, with ``network.stop_training`` set, when no component of the gradient is larger
    than `tolerance`, or no step lowers the loss: then rounding is all that is left, or a kink.

    It supposes a smooth loss. Kinks (relu, mae, hinge, quantile) are seldom met exactly, and do
    little harm; but those of an l1 penalty lie where the minimum is, and there it may end early,
    with weights near 0 that are not 0. Use l2, or another optimizer.

    Parameters
    ----------
    history_size : int, default 10
        Steps to remember, each in two vectors as long as theta; 3 to 20 are usual.
    tolerance : float, default 1e-6
        At least 0.
    max_evaluations : int, default 20
        Of loss and gradient, in a line search.
    clip_value, clip_norm : None
        All optimizers have them, but here a clipped gradient would no longer be the loss's, and the
        line search keeps steps short where they need to be: anything but None is refused.

    Raises
    ------
    DataError, DataTypeError
        If an argument is not valid.

    Examples
    --------
    >>> LBFGS(20)
    LBFGS(history_size=20)
    """

    name = kind = "lbfgs"
    learning_rate = 1.0
    history_size: int
    tolerance: float
    max_evaluations: int

    def __init__(
        self,
        history_size: int = 10,
        *,
        tolerance: float = 1e-6,
        max_evaluations: int = 20,
        clip_value: None = None,
        clip_norm: None = None,
    ) -> None:
        for clip, value in (("clip_value", clip_value), ("clip_norm", clip_norm)):
            if value is not None:
                raise DataError(
                    f"{clip} must be None for LBFGS, got {value!r}: its line search needs the "
                    "loss's own gradient, and bounds the steps itself"
                )
        if isinstance(history_size, (float, schedules.Schedule)):
            raise DataTypeError(
                f"history_size must be an integer, got {history_size!r}; LBFGS has no learning "
                "rate: a line search finds the length of each step"
            )
        vars(self).update(
            history_size=check_size(history_size, "history_size"),
            tolerance=check_real(tolerance, "tolerance", at_least=0),
            max_evaluations=check_size(max_evaluations, "max_evaluations"),
            clip_value=None,
            clip_norm=None,
        )

    def spec(self) -> OptimizerSpec:
        """Raise: there is no mini-batch step for a backend to do."""
        raise DataError("optimizer LBFGS takes the whole data at every step: it works in fit only")

    def __repr__(self) -> str:
        default = vars(LBFGS())
        parts = [f"{key}={value!r}" for key, value in vars(self).items() if value != default[key]]
        return f"LBFGS({', '.join(parts)})"


def _fraction(value: Any, name: str) -> float:
    """Return `value` as a float in [0, 1)."""
    number = check_real(value, name, at_least=0)
    if number >= 1:
        raise DataError(f"{name} must be below 1, got {value!r}")
    return number


def _short_repr(optimizer: Optimizer, default: Optimizer) -> str:
    """Return a repr with the learning rate and what differs from the defaults."""
    settings = vars(optimizer)
    parts = [repr(optimizer.learning_rate)]
    parts += [
        f"{key}={value!r}"
        for key, value in settings.items()
        if key != "learning_rate" and value != vars(default)[key]
    ]
    return f"{type(optimizer).__name__}({', '.join(parts)})"


_TABLE: dict[str, type[Optimizer]] = {
    cls.name: cls for cls in (SGD, Adam, AdamW, RMSprop, Adagrad, Rprop, LBFGS)
}


_DEFAULT = SGD()


def get(optimizer: Any) -> Optimizer:
    """Return an optimizer from an object or its name; None stands for ``SGD()``."""
    if optimizer is None:
        return _DEFAULT
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        return look_up(optimizer, _TABLE, "optimizer")()
    raise DataTypeError(
        f"optimizer must be an optimizer such as SGD(0.1), or its name; got {optimizer!r}"
    )


def from_config(config: dict[str, Any]) -> Optimizer:
    """Rebuild an optimizer from its `Optimizer.config`."""
    settings = dict(config)
    if isinstance(settings.get("learning_rate"), dict):
        settings["learning_rate"] = schedules.from_config(settings["learning_rate"])
    return look_up(settings.pop("name", None), _TABLE, "optimizer")(**settings)
