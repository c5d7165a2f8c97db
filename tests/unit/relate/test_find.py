"""A TARGET leads to exactly one thing, or to words that help."""

from __future__ import annotations

import pytest

from nsctl.errors import AmbiguousTarget, TargetError, UnknownTarget
from nsctl.model.namespace import NS_LINKS, UNREADABLE
from nsctl.model.namespace import NamespaceType as Kind
from nsctl.model.snapshot import Snapshot
from nsctl.model.target import Target
from nsctl.relate.find import Found, find, unnamed
from nsctl.targets.syntax import parse
from unit.factories import all_own, container, namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

NGINX = b"0::/system.slice/nginx.service\n"
ENDED = ns(**dict.fromkeys(("mnt", "net", "ipc", "uts", "cgroup", "time"), 0))
WEB = container("web", full_id="3f2a9c00", pid=5)
WEB_OF_PODMAN = container("web", engine="podman", full_id="77aa", pid=7)
DB = container("db", full_id="3f2b0000", cgroups=["/db"])
OLD = container("old", full_id="99")
HOST = snapshot(
    [
        task(1),
        task(5, all_own(500)),
        task(6, ns(net=502), ppid=5),
        task(7, all_own(700)),
        task(8, all_own(800), cgroup=b"0::/db\n"),
        task(9, ns(net=9), comm=b"sleep"),
        task(10, ns(mnt=10), comm=b"sleep"),
        task(11, ns(mnt=11), cgroup=NGINX),
        task(12, ENDED, state="Z"),
    ],
    [namespace(Kind.NET, 4026532720), namespace(Kind.MNT, 4026532720)],
    [WEB, WEB_OF_PODMAN, DB, OLD],
)


def look(text: str) -> Found:
    return find(HOST, parse(text))


def leader(found: Found) -> int:
    assert found.group is not None
    return found.group.leader


def test_a_name_that_one_container_has_leads_to_its_group() -> None:
    found = look("db")
    assert (leader(found), found.container) == (8, DB)


def test_an_engine_tells_two_containers_of_one_name_apart() -> None:
    assert leader(look("docker://web")) == 5
    assert leader(look("podman://web")) == 7


def test_a_name_that_two_engines_have_is_ambiguous_and_both_are_listed_in_full() -> None:
    with pytest.raises(AmbiguousTarget) as caught:
        look("web")
    assert "docker://web (3f2a9c00)" in caught.value.cause
    assert "podman://web (77aa)" in caught.value.cause
    assert caught.value.exit_status == 2


def test_an_id_leads_to_its_container_whole_or_by_its_beginning() -> None:
    for text in ("3f2a9c00", "3f2a", "docker://3f2a9"):
        assert look(text).container == WEB


def test_a_beginning_that_two_ids_have_is_ambiguous() -> None:
    with pytest.raises(AmbiguousTarget, match=r"3f2a9c00.*3f2b0000"):
        look("3f2")


def test_a_container_that_does_not_run_has_no_group() -> None:
    assert look("old") == Found(container=OLD)


def test_a_containers_group_is_that_of_its_first_process() -> None:
    found = look("docker://web")
    assert found.group is not None
    assert found.group.pids == (5,)


def test_a_containers_old_number_leads_to_nobody_elses_group() -> None:
    stale = container("stale", pid=9, start=1)
    host = HOST._replace(containers=(stale,))
    assert find(host, parse("stale")) == Found(container=stale)


def test_a_service_and_a_process_alone_in_its_name_are_found_by_it() -> None:
    assert leader(look("nginx.service")) == 11


def test_a_name_that_two_groups_have_is_ambiguous_and_their_leaders_are_listed() -> None:
    with pytest.raises(AmbiguousTarget, match=r"any of \w+\[9\], \w+\[10\]"):
        look("sleep")


def test_an_unknown_name_hints_at_the_nearest() -> None:
    with pytest.raises(UnknownTarget) as caught:
        look("nginx.servic")
    assert caught.value.hint == "did you mean nginx.service?"
    with pytest.raises(UnknownTarget) as caught:
        look("qqqqq")
    assert caught.value.hint == "`nsctl` lists what there is"


def test_an_engine_that_has_no_such_container_is_not_answered_by_another() -> None:
    for text in ("podman://db", "docker://nginx.service"):
        with pytest.raises(UnknownTarget):
            look(text)


def test_a_pid_leads_to_its_process_and_group() -> None:
    found = look("6")
    assert found.task is not None
    assert (found.task.pid, leader(found)) == (6, 6)


def test_a_zombie_has_no_group() -> None:
    found = look("12")
    assert found.task is not None
    assert found.group is None


def test_an_unknown_pid_is_refused() -> None:
    with pytest.raises(UnknownTarget, match="process 4000: there is no such process"):
        look("4000")


def test_a_pinned_pid_must_have_that_namespace() -> None:
    assert leader(look("5:502")) == 5
    with pytest.raises(TargetError, match="may be another process's by now"):
        look("5:503999")


def test_a_pinned_pid_that_is_unreadable_is_not_believed() -> None:
    host = snapshot([task(1), task(5, (UNREADABLE,) * len(NS_LINKS))])
    with pytest.raises(TargetError):
        find(host, parse("5:502"))


def test_a_namespace_is_found_by_type_and_inode() -> None:
    for kind in (Kind.NET, Kind.MNT):
        found = look(f"{kind}:[4026532720]").namespace
        assert found is not None
        assert found.namespace.id.type is kind
    with pytest.raises(UnknownTarget):
        look("uts:[4026532720]")


def test_the_host_is_a_target() -> None:
    assert leader(look("@host")) == 1


def test_a_host_that_could_not_be_read_is_unknown() -> None:
    host = snapshot([task(1, (UNREADABLE,) * len(NS_LINKS))])
    with pytest.raises(UnknownTarget, match="no process of the host could be read"):
        find(host, parse("@host"))


def pods() -> Snapshot:
    rows = [
        container("p", engine="cri", full_id="a0" * 32, pid=5)._replace(pod="n:p"),
        container("c", engine="cri", full_id="a1" * 32, pid=7)._replace(pod="n:p"),
        container("c", engine="cri", full_id="a2" * 32, pid=8)._replace(pod="n:q"),
        container("d", engine="cri", full_id="a3" * 32)._replace(pod="n:q"),
        container("lone", engine="podman", full_id="a4" * 32)._replace(pod="r"),
        container("e", engine="cri", full_id="a5" * 32)._replace(pod="m:p"),
    ]
    return HOST._replace(containers=tuple(rows))


@pytest.mark.parametrize(
    ("text", "full_id"),
    [
        ("pod/n:p", "a0"),
        ("pod/n:p/c", "a1"),
        ("pod/p/c", "a1"),
        ("pod/q/c", "a2"),
        ("pod/r", "a4"),
        ("pod/m:p", "a5"),
    ],
)
def test_a_pod_leads_to_its_sandbox_or_the_container_named(text: str, full_id: str) -> None:
    found = find(pods(), parse(text)).container
    assert found is not None
    assert found.id == full_id * 32


def test_a_pods_name_alone_leads_to_all_of_its_containers() -> None:
    found = find(pods(), parse("pod/n:p"))
    assert [row.name for row in found.pod] == ["p", "c"]
    assert leader(found) == 5
    # An engine without sandboxes: there is the pod, and no one container.
    found = find(pods(), parse("pod/q"))
    assert [row.name for row in found.pod] == ["c", "d"]
    assert (found.container, found.group) == (None, None)
    assert find(pods(), parse("pod/q/c")).pod == ()


def test_a_pod_that_docker_made_for_a_kubelet_has_the_kubelets_names() -> None:
    rows = [
        container("k8s_POD_shop_n_0", pid=5)._replace(pod="n:shop"),
        container("k8s_app_shop_n_0", pid=7)._replace(
            pod="n:shop", labels=(("io.kubernetes.container.name", "app"),)
        ),
    ]
    host = HOST._replace(containers=tuple(rows))
    assert find(host, parse("pod/shop")).container == rows[0]
    for name in ("app", "k8s_app_shop_n_0"):
        assert find(host, parse(f"pod/shop/{name}")).container == rows[1]


def test_two_pods_of_one_name_are_ambiguous_and_listed_in_full() -> None:
    with pytest.raises(AmbiguousTarget, match=r"pod/m:p, pod/n:p"):
        find(pods(), parse("pod/p"))


def test_an_unknown_pod_hints_at_the_nearest() -> None:
    with pytest.raises(UnknownTarget) as caught:
        find(pods(), parse("pod/n:pp"))
    assert caught.value.hint.startswith("did you mean pod/n:p or pod/")


@pytest.mark.parametrize("text", ["pod/none/c", "pod/n:r", "pod/p/none", "pod/p"])
def test_a_pod_that_leads_to_no_one_container_is_refused(text: str) -> None:
    with pytest.raises(TargetError):
        find(pods(), parse(text))


def test_an_engines_own_namespaces_tell_two_containers_apart() -> None:
    rows = [
        container("one", engine="containerd", full_id="one")._replace(scope=scope)
        for scope in ("a", "b")
    ]
    host = HOST._replace(containers=tuple(rows))
    assert find(host, parse("containerd://b/one")).container == rows[1]
    with pytest.raises(AmbiguousTarget, match=r"containerd://a/one.*containerd://b/one"):
        find(host, parse("one"))


def test_what_others_say_an_id_is_redirects_nobody() -> None:
    forged = container("web@evil", full_id="db")._replace(vouched_by=9)
    longer = container("x@evil", full_id="3f2a9c00ff")._replace(vouched_by=9)
    host = HOST._replace(containers=(*HOST.containers, forged, longer))
    assert find(host, parse("db")).container == DB
    assert find(host, parse("3f2a")).container == WEB
    assert find(host, parse("web@evil")).container == forged
    alone = HOST._replace(containers=(forged, longer))
    for text in ("3f2a", "docker://db"):
        with pytest.raises(UnknownTarget):
            find(alone, parse(text))


def of_images(*images: str, vouched_by: int = 0) -> Snapshot:
    rows = [
        container(f"c{n}", full_id=f"{n:064}", pid=5 if n == 0 else 0)._replace(
            image=image, vouched_by=vouched_by
        )
        for n, image in enumerate(images)
    ]
    return HOST._replace(containers=tuple(rows))


@pytest.mark.parametrize(
    "text",
    ["nginx", "nginx:1.27", "docker://nginx", "docker://docker.io/library/nginx:1.27"],
)
def test_an_image_leads_to_the_only_container_that_has_it(text: str) -> None:
    host = of_images("docker.io/library/nginx:1.27", "redis:7")
    found = find(host, parse(text))
    assert (found.container, leader(found)) == (host.containers[0], 5)


def test_an_image_without_its_digest_is_found() -> None:
    host = of_images(f"quay.io/shop/till@sha256:{'a' * 64}")
    assert find(host, parse("till")).container == host.containers[0]


def test_an_image_that_two_containers_have_is_ambiguous_and_both_are_listed() -> None:
    with pytest.raises(AmbiguousTarget, match=r"docker://c0 .*docker://c1"):
        find(of_images("nginx:1.27", "nginx:1.26"), parse("nginx"))
    host = of_images("nginx:1.27", "nginx:1.26")
    assert find(host, parse("nginx:1.26")).container == host.containers[1]


def test_a_name_goes_before_an_image() -> None:
    host = of_images("sleep", "c0", "nginx.service")
    assert find(host, parse("c0")).container == host.containers[0]
    assert leader(find(host, parse("nginx.service"))) == 11
    with pytest.raises(AmbiguousTarget, match=r"sleep\[[0-9]+\], sleep\["):
        find(host, parse("sleep"))


def test_an_image_of_another_engine_or_of_somebody_elses_is_not_found() -> None:
    for host, text in (
        (of_images("nginx"), "podman://nginx"),
        (of_images("nginx", vouched_by=9), "nginx"),
        (of_images("/srv/nginx"), "nginx"),
        (of_images(""), "nginx"),
    ):
        with pytest.raises(UnknownTarget):
            find(host, parse(text))


NAMES = ("4560", "net", "user", "host", "4560:99", "c", "a" * 64)


def named_like_others() -> Snapshot:
    rows = [
        container(name, full_id=f"{n:064x}", pid=5 + n if n < 2 else 0)
        for n, name in enumerate(NAMES)
    ]
    return HOST._replace(containers=tuple(rows))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_looks_like_something_else_is_found_with_its_engine(name: str) -> None:
    found = find(named_like_others(), parse(f"docker://{name}")).container
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("name", ["net", "user", "host", "c"])
def test_a_name_of_a_type_is_a_name_where_no_inode_follows(name: str) -> None:
    found = find(named_like_others(), parse(name)).container
    assert found is not None
    assert found.name == name


def test_digits_are_a_process_and_never_a_container() -> None:
    for text in ("4560", "4560:99"):
        with pytest.raises(UnknownTarget, match="process 4560"):
            find(named_like_others(), parse(text))


def test_two_daemons_of_one_engine_with_one_name_are_told_apart_by_their_ids() -> None:
    rows = (container("web", full_id="aa" * 32, pid=5), container("web", full_id="ab" * 32, pid=7))
    inner = container("web@box", full_id="ac" * 32, pid=8)._replace(vouched_by=5)
    host = HOST._replace(containers=(*rows, inner))
    for text in ("web", "docker://web"):
        with pytest.raises(AmbiguousTarget) as caught:
            find(host, parse(text))
        assert "docker://web (aaaaaaaaaaaa), docker://web (abababababab)" in caught.value.cause
        assert "box" not in caught.value.cause
    assert find(host, parse("aaaa")).container == rows[0]
    assert find(host, parse("docker://abab")).container == rows[1]
    assert find(host, parse("web@box")).container == inner
    assert find(host, parse("docker://web@box")).container == inner


def test_a_whole_id_goes_before_a_longer_one_and_a_name_before_both() -> None:
    rows = (
        container("x", full_id="ab"),
        container("y", full_id="abcd"),
        container("abcd", full_id="77"),
    )
    host = HOST._replace(containers=rows)
    assert find(host, parse("ab")).container == rows[0]
    # One is called so, the other has this id: which is meant cannot be known.
    with pytest.raises(AmbiguousTarget, match=r"docker://y .*docker://abcd"):
        find(host, parse("abcd"))


def test_ones_own_container_has_the_name_too_that_others_know_it_by() -> None:
    mine = container("web", engine="podman", full_id="ab" * 32)._replace(user=1000)
    found = snapshot([task(1)], containers=[mine])
    for text in ("web", "web@1000"):
        assert find(found, Target("name", text, name=text)).container == mine
    with pytest.raises(UnknownTarget):
        find(found, Target("name", "web@1001", name="web@1001"))


def test_an_unknown_name_is_perhaps_that_of_a_container_whose_name_may_not_be_read() -> None:
    hidden = container("ab" * 6, full_id="ab" * 32, pid=5, start=50)
    named = container("cache", full_id="cd" * 32)
    found = snapshot([task(1)], containers=[hidden, named])
    with pytest.raises(UnknownTarget) as caught:
        find(found, Target("name", "web", name="web"))
    assert caught.value.hint.startswith("one container has no name that may be read here")
    gap = unnamed([hidden, named], 1000)
    assert gap is not None
    assert (gap.object, gap.needs) == ("name and image of 1 container", "CAP_DAC_READ_SEARCH")
    assert unnamed([named], 1000) is None
    root = unnamed([hidden, hidden], 0)
    assert root is not None
    assert (root.object, root.needs) == ("name and image of 2 containers", "")
