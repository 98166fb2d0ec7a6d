"""Which Token and EncodingAESKey may have made a delivery: by corp and by the name of its callback configuration."""

from __future__ import annotations

from collections.abc import Mapping

from core.settings import CallbackSettings, Settings
from wecom.crypto import CallbackCrypto

Callbacks = Mapping[str, tuple[CallbackCrypto, ...]]
"""Name of a callback configuration to the pairs that are valid for it, two during a rotation."""


class KeyRing:
    """The pairs of every address that the endpoint answers. For one thread: the cryptos keep their decryptors."""

    def __init__(self, corps: Mapping[str, Callbacks]) -> None:
        """``corps`` by corpid."""
        self._addresses: dict[tuple[str, str | None], Callbacks] = {}
        for corpid, callbacks in corps.items():
            self._addresses[corpid, None] = callbacks
            for name, cryptos in callbacks.items():
                self._addresses[corpid, name] = {name: cryptos}

    @classmethod
    def from_settings(cls, settings: Settings) -> KeyRing:
        """Each configuration's present pair before its previous one: a rotation is short."""
        return cls(
            {
                corp.corpid: {callback.name: _cryptos(callback, corp.corpid) for callback in corp.callbacks}
                for corp in settings.corps
            }
        )

    def callbacks(self, corpid: str, name: str | None) -> Callbacks | None:
        """What may have come to ``/callback/{corpid}/{name}``, everything of the corp without a name; None: no such."""
        return self._addresses.get((corpid, name))


def _cryptos(callback: CallbackSettings, corpid: str) -> tuple[CallbackCrypto, ...]:
    return tuple(
        CallbackCrypto(pair.token.get_secret_value(), pair.encoding_aes_key.get_secret_value(), corpid)
        for pair in (callback, callback.previous)
        if pair is not None
    )
