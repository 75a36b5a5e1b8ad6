"""What the catalogue of an account says of a dataset: description, privacy, who it is shared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from html import escape
from typing import cast, get_args

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._client.nonpublic import silently
from cartoframes_lite._client.visualizations import Access, Permission, require_privacy
from cartoframes_lite._codec.names import split_schema
from cartoframes_lite._synced import Synced
from cartoframes_lite.errors import CartoError
from cartoframes_lite.visualizations import Visualization


class Catalogued(Synced):
    """What the catalogue says of a dataset; ``Dataset`` inherits this."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        """Set the privacy; all else is frozen."""
        if name != "privacy":
            raise FrozenInstanceError(f"cannot assign to {name!r}: only privacy can be set")
        object.__setattr__(self, name, value)

    def info(self) -> Visualization:
        """Ask what CARTO's catalogue says of it: size, description, tags, who may see it, which maps show it.

        Raises
        ------
        TableNotFoundError
            If there is no such table.
        PermissionDenied
            If it is private and the key is not the master key.
        """
        client = Client(self.credentials)
        client.sql.require_table(*self._place)
        return Visualization.of_entry(client.visualizations.get(self.name), client.credentials)

    def update(
        self,
        *,
        title: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        attributions: str | None = None,
        license: str | None = None,
        source: str | None = None,
        locked: bool | None = None,
    ) -> Visualization:
        """Change what the catalogue says of it; what is not given stays.

        Parameters
        ----------
        title, description, attributions, license, source : str, optional
            "" empties them.
        tags : sequence of str, optional
        locked : bool, optional
            Protect it against changes on its page.

        Returns
        -------
        Visualization
            As ``info`` gives it.
        """
        return self.info().update(
            title=title,
            description=description,
            tags=tags,
            attributions=attributions,
            license=license,
            source=source,
            locked=locked,
        )

    @property
    def privacy(self) -> Privacy:
        """Who may see the table: "public", "private" or "link"; can be set, with the master key."""
        return cast(Privacy, self.info().privacy)

    @privacy.setter
    def privacy(self, privacy: Privacy) -> None:
        require_privacy(privacy)
        client = Client(self.credentials)
        client.sql.require_table(*self._place)
        client.visualizations.set_privacy(self.name, privacy)

    @property
    def permissions(self) -> tuple[Permission, ...]:
        """Who may see or change it beside its owner."""
        return self.info().permissions

    def share(self, user_or_org: str, access: Access | None = "r") -> tuple[Permission, ...]:
        """Let a user of the organization, or all of it, read the dataset, or change it, too.

        Parameters
        ----------
        user_or_org : str
            Name of a user, or of the organization.
        access : {"r", "rw"} or None
            "r" to read, "rw" also to write; None takes it back.

        Returns
        -------
        tuple of Permission
            Who may see or change it now.

        Raises
        ------
        CartoError
            If the account is in no organization, or there is no such user in it.
        """
        if access is not None and access not in get_args(Access):
            raise ValueError(f"access must be one of {get_args(Access)} or None, not {access!r}")
        client = Client(self.credentials)
        kind, entity_id = client.users.find_entity(user_or_org)
        client.visualizations.share(client.visualizations.get(self.name), kind, entity_id, access)
        return self.permissions

    @property
    def _place(self) -> tuple[str | None, str]:
        """The schema, None for that of the account, and the table."""
        return split_schema(self.name)

    def _repr_html_(self) -> str:
        """Show what the catalogue says, if there is an answer."""
        try:
            client = Client(self.credentials)
            with silently():
                entry = client.visualizations.find(self.name)
        except CartoError:
            entry = None
        if entry is None:
            return f"<code>{escape(repr(self))}</code>"
        return Visualization.of_entry(entry, client.credentials)._repr_html_()
