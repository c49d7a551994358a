"""The base image: what it takes from the host's apt, and how it is named."""

from __future__ import annotations

from sandbox.cluster.images import debian

CONFIGURED = """\
https://mirror.example/debian/ bookworm main
https://mirror.example/debian/ bookworm main
https://mirror.example/debian/ bookworm non-free
https://mirror.example/debian/ bookworm-backports main
https://mirror.example/debian/ bookworm-updates main
https://mirror.example/security/ bookworm-security main
https://packages.example/tool/ nodistro main
file:/srv/mirror/ bookworm main
"""


def test_only_main_of_the_release_is_taken_from_the_host() -> None:
    assert debian.sources(CONFIGURED) == [
        "deb https://mirror.example/debian/ bookworm main",
        "deb https://mirror.example/debian/ bookworm-updates main",
        "deb https://mirror.example/security/ bookworm-security main",
    ]


def test_a_host_of_another_release_gives_no_sources() -> None:
    assert debian.sources(CONFIGURED.replace("bookworm", "trixie")) == []
    assert debian.sources("https://mirror.example/security/ bookworm-security main\n") == []
    assert debian.sources("") == []


def test_the_proxy_of_the_host_comes_along_and_nothing_else() -> None:
    dump = 'Dir "/";\nAcquire::http::Proxy "http://proxy.example:3128";\nAcquire::https::Proxy "";\nAPT::Foo "1";\n'
    assert debian.host_options(dump) == ['--aptopt=Acquire::http::Proxy "http://proxy.example:3128"']


def test_images_are_named_after_their_inputs() -> None:
    assert debian.ref().startswith("sandbox/debian:")
    assert debian.python_ref().startswith("sandbox/python:")
    assert len(debian.ref().split(":")[1]) == 12
    assert debian.ref().split(":")[1] != debian.python_ref().split(":")[1]
