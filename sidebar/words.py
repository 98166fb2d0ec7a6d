"""What the message pages say, in both languages. What the page itself says is in ``static/words.js``."""

from __future__ import annotations

from typing import Literal

Language = Literal["zh-CN", "en"]

RETRY: dict[Language, str] = {"zh-CN": "重新登录", "en": "Log in again"}

MESSAGES: dict[str, dict[Language, tuple[str, str]]] = {
    "unknown_app": {
        "zh-CN": ("页面不存在", "这个地址不属于本系统的任何应用，请联系管理员检查侧边栏的页面地址。"),
        "en": (
            "No such page",
            "This address belongs to no app of this system. Ask your administrator to check the page's address.",
        ),
    },
    "not_employee": {
        "zh-CN": ("仅限企业成员使用", "您不是该企业的成员，不能打开这个页面。如果您有多个企业，请先切换企业。"),
        "en": (
            "For employees only",
            "You are not an employee of this company. If you belong to several, switch to the right one first.",
        ),
    },
    "out_of_range": {
        "zh-CN": ("您不在应用的可见范围内", "请联系管理员，将您加入该应用的可见范围。"),
        "en": ("This app is not open to you", "Ask your administrator to add you to the visible range of this app."),
    },
    "login_state": {
        "zh-CN": ("登录已失效", "这次登录已过期或已使用过，请重新登录。"),
        "en": ("The login is no longer valid", "It has expired or was used before. Please log in again."),
    },
    "login_cookie": {
        "zh-CN": ("登录没有完成", "这次登录不是在此处开始的，或者此处不能保存 Cookie。请关闭侧边栏后重新打开。"),
        "en": (
            "The login did not finish",
            "It was not begun here, or cookies are not kept here. Close the sidebar and open it again.",
        ),
    },
    "login_code": {
        "zh-CN": ("企业微信没有确认您的身份", "登录已重试，仍然没有成功。请稍后再试；如果一直这样，请联系管理员。"),
        "en": (
            "WeCom did not confirm who you are",
            "The login was tried twice. Try again in a while; if it goes on like this, tell your administrator.",
        ),
    },
    "domain": {
        "zh-CN": ("可信域名不正确", "本页面的域名不是该应用的可信域名，请联系管理员在企业微信管理后台设置。"),
        "en": (
            "The domain is not trusted",
            "This page is not on the app's trusted domain. Ask your administrator to set it in the admin console.",
        ),
    },
    "platform": {
        "zh-CN": ("企业微信暂时没有响应", "请稍后再试。如果一直这样，请把下面的代码告诉管理员。"),
        "en": (
            "WeCom does not answer at the moment",
            "Try again in a while. If it goes on like this, tell your administrator the code below.",
        ),
    },
    "database": {
        "zh-CN": ("系统暂时不可用", "数据暂时无法读取，请稍后再试。"),
        "en": ("The system is not available", "The data can't be reached at the moment. Try again in a while."),
    },
    "failed": {
        "zh-CN": ("系统出错了", "请稍后再试。如果一直这样，请把下面的代码告诉管理员。"),
        "en": (
            "Something went wrong",
            "Try again in a while. If it goes on like this, tell your administrator the code below.",
        ),
    },
}
"""Code to title and text."""
