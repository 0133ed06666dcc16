"""A trajectory as plain data, on its way from facts to rows.

People and checks work with the model, `Trajectory`. Taking in a journal needs none: rows and payload are made of plain
data, at a fraction of what making the model costs and reading it out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from agenther_live.assemble.sound import is_sound
from agenther_live.trajectory import Status, Trajectory

__all__ = ["Told"]

_SOURCE = Trajectory.model_fields["source"].default


class Told:
    """A trajectory as plain data: `fields` by the names of `Trajectory`, messages as they came, times as `datetime`.

    `odd` counts facts that were left out, whole or in part, since they were of another form than ours.
    """

    __slots__ = ("_model", "fields", "odd")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """Take what was assembled.

        Raises:
            ValidationError: it is no trajectory.
        """
        self.fields = fields
        self.odd = 0
        self._model: Trajectory | None = None
        if not is_sound(fields):
            self._take(Trajectory.model_validate(fields))

    @classmethod
    def sound(cls, fields: Mapping[str, Any]) -> Told:
        """Take what `is_sound` is known to hold for."""
        told = cls.__new__(cls)
        told.fields, told.odd, told._model = fields, 0, None
        return told

    @classmethod
    def of(cls, trajectory: Trajectory) -> Told:
        """Give a trajectory that is there as a model already."""
        told = cls.__new__(cls)
        told.odd = 0
        told._take(trajectory)
        return told

    def _take(self, trajectory: Trajectory) -> None:
        plain = trajectory.model_dump(exclude={"messages", "nested"})
        plain["messages"] = [message.model_dump(exclude_unset=True) for message in trajectory.messages]
        plain["nested"] = {
            path: [message.model_dump(exclude_unset=True) for message in messages]
            for path, messages in trajectory.nested.items()
        }
        if trajectory.seen is not None:
            plain["seen"]["messages"] = [message.model_dump(exclude_unset=True) for message in trajectory.seen.messages]
        self.fields, self._model = plain, trajectory

    @property
    def trajectory(self) -> Trajectory:
        """The model; made when it is asked for."""
        if self._model is None:
            self._model = Trajectory.model_validate(self.fields)
        return self._model

    @property
    def source(self) -> str:
        """Where it comes from."""
        return str(self.fields.get("source", _SOURCE))

    def with_status(self, status: Status) -> Told:
        """Give it with another status, and all else as it is."""
        if self._model is not None:
            return Told.of(self._model.model_copy(update={"status": status}))
        return Told({**self.fields, "status": status})

    def payload(self) -> bytes:
        """Give it as JSON; only fields that were set are written, so that the model comes back equal."""
        if self._model is None:
            try:
                return orjson.dumps(self.fields)
            except TypeError:  # a number beyond 64 bits, say
                pass
        return self.trajectory.model_dump_json(exclude_unset=True).encode()
