"""Customer groups change: who is in them, and what they are called (document 92130)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wecom.simulator.events import EXTERNAL_CHAT, Change, EventSource, Leaves, TooSoon
from wecom.simulator.state import CHAT, OUTSIDER, STAFF, ChangeRefused, Chat, ChatMember, Corp

INVITED, BY_LINK, BY_CODE = 1, 2, 3
"""Ways into a group, as the API numbers them (document 92122)."""
_SCENES = {INVITED: "0", BY_LINK: "0", BY_CODE: "3"}
"""And as events do (document 92130)."""


class GroupChats(EventSource):
    """What happens in groups. A group is named by id or name, its members by userid or external_userid."""

    def create_chat(
        self,
        corpid: str,
        owner: str,
        *,
        members: Iterable[str] = (),
        name: str = "",
        notice: str = "",
        admins: Iterable[str] = (),
    ) -> Change:
        """An employee makes a group and is in it, with those who are invited at once."""
        corp, moment = self.corp(corpid), self._now()
        owns = corp.employee(owner).userid
        chat = Chat(
            *(self._id("wr"), owns, moment, name, notice),
            admins=tuple(corp.employee(admin).userid for admin in admins),
            version=self._version(),
        )
        for userid in (owns, *chat.admins, *members):
            if chat.member(userid) is None:
                chat.members.append(_member(corp, userid, moment, INVITED, owns))
        self._tell_of(corp, CHAT, chat.chat_id)
        corp.chats[chat.chat_id] = chat
        return self._chat_event(corp, chat, "create", moment, ())

    def join_chat(
        self,
        corpid: str,
        chat_id: str,
        members: Sequence[str],
        *,
        scene: int = INVITED,
        invitor: str | None = None,
        state: str | None = None,
    ) -> Change:
        """``scene`` as the API has it; ``invitor`` is an employee and defaults to the owner of the group."""
        corp, moment = self.corp(corpid), self._now()
        chat = corp.chat(chat_id)
        if scene not in _SCENES:
            raise ChangeRefused(f"one joins a group by {', '.join(map(str, _SCENES))}, not {scene}")
        if not members or any(chat.member(userid) is not None for userid in members):
            raise ChangeRefused("nobody joins, or somebody who is in the group already")
        by = corp.employee(invitor).userid if invitor else chat.owner
        joined = [_member(corp, one, moment, scene, by if scene == INVITED else None, state) for one in members]
        if len({member.userid for member in joined}) < len(joined):
            raise ChangeRefused("everybody joins once")
        self._tell_of(corp, CHAT, chat.chat_id)
        chat.members += joined
        return self._membership(
            corp, chat, "add_member", moment, ("JoinScene", _SCENES[scene]), [one.userid for one in joined]
        )

    def leave_chat(self, corpid: str, chat_id: str, members: Sequence[str], *, removed: bool = False) -> Change:
        """They leave, or the owner removes them. The owner stays: another owner comes first."""
        corp, moment = self.corp(corpid), self._now()
        chat = corp.chat(chat_id)
        gone = [found for userid in members if (found := chat.member(userid)) is not None]
        if not gone or len(gone) < len(members):
            raise ChangeRefused(f"not all of them are in the group {chat_id}")
        if any(member.userid == chat.owner for member in gone):
            raise ChangeRefused(f"{chat.owner} owns the group {chat_id}; give it another owner first")
        self._tell_of(corp, CHAT, chat.chat_id)
        chat.members = [member for member in chat.members if member not in gone]
        ids = [member.userid for member in gone]
        chat.admins = tuple(admin for admin in chat.admins if admin not in ids)
        return self._membership(corp, chat, "del_member", moment, ("QuitScene", str(int(removed))), ids)

    def set_chat_owner(self, corpid: str, chat_id: str, owner: str) -> Change:
        """Another employee who is in the group owns it."""
        corp = self.corp(corpid)
        chat, userid = corp.chat(chat_id), corp.employee(owner).userid
        if chat.owner == userid or chat.member(userid) is None:
            raise ChangeRefused(f"{userid} owns the group {chat_id} already, or is not in it")
        return self._updated(corp, chat, "change_owner", owner=userid)

    def set_chat_name(self, corpid: str, chat_id: str, name: str) -> Change:
        """The group gets another name; it may be empty."""
        corp = self.corp(corpid)
        return self._updated(corp, corp.chat(chat_id), "change_name", name=name)

    def set_chat_notice(self, corpid: str, chat_id: str, notice: str) -> Change:
        """The group gets another notice; it may be empty."""
        corp = self.corp(corpid)
        return self._updated(corp, corp.chat(chat_id), "change_notice", notice=notice)

    def dismiss_chat(self, corpid: str, chat_id: str) -> Change:
        """The group is dissolved; the API says so to whoever asks for it."""
        corp, moment = self.corp(corpid), self._now()
        chat = corp.chat(chat_id)
        if moment <= chat.create_time:
            raise TooSoon(f"the group {chat_id} was made in this second; wait one")
        self._tell_of(corp, CHAT, chat.chat_id)
        chat.dismissed = True
        return self._chat_event(corp, chat, "dismiss", moment, ())

    def _updated(self, corp: Corp, chat: Chat, detail: str, **values: str) -> Change:
        if all(getattr(chat, name) == value for name, value in values.items()):
            raise ChangeRefused(f"nothing about the group {chat.chat_id} is changed by that")
        self._tell_of(corp, CHAT, chat.chat_id)
        for name, value in values.items():
            setattr(chat, name, value)
        return self._chat_event(corp, chat, "update", self._now(), (("UpdateDetail", detail),))

    def _membership(
        self, corp: Corp, chat: Chat, detail: str, moment: int, scene: tuple[str, str], ids: Sequence[str]
    ) -> Change:
        last, chat.version = chat.version, self._version()
        chat.versions.append((last, chat.version))
        leaves = [
            *(("UpdateDetail", detail), scene, ("MemChangeCnt", str(len(ids)))),
            *(("MemChangeList/Item", userid) for userid in ids),
            *(("LastMemVer", last), ("CurMemVer", chat.version)),
        ]
        return self._chat_event(corp, chat, "update", moment, leaves)

    def _chat_event(self, corp: Corp, chat: Chat, change: str, moment: int, leaves: Leaves) -> Change:
        # What the API shows of people in a group is a copy that is made with each change of the group.
        for member in chat.members:
            _describe(corp, member)
        corp.told.add((CHAT, chat.chat_id))
        document = [("ChatId", chat.chat_id), ("ChangeType", change), *leaves]
        return self._event(corp, EXTERNAL_CHAT, change, document, moment, object_id=chat.chat_id)

    def _version(self) -> str:
        return f"{self._random.getrandbits(128):032x}"


def _member(
    corp: Corp, userid: str, moment: int, scene: int, invitor: str | None, state: str | None = None
) -> ChatMember:
    """An employee or a customer of this corp. Raises ``ChangeRefused`` for nobody."""
    if userid in corp.customers:
        return ChatMember(OUTSIDER, userid, moment, scene, invitor, state=state)
    return ChatMember(STAFF, corp.employee(userid).userid, moment, scene, invitor, state=state)


def _describe(corp: Corp, member: ChatMember) -> None:
    """What is known of somebody who is still there."""
    if member.type == OUTSIDER:
        member.name, member.unionid = corp.customers[member.userid].name, corp.customers[member.userid].unionid
    elif (employee := corp.employees.get(member.userid.lower())) is not None:
        member.name = employee.name
