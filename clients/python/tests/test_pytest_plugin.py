"""The fixtures for pytest, in a test run of their own."""

from __future__ import annotations

import pytest

PLUGINS = ["-p", "linkkit_sidecar.pytest_plugin", "-p", "no:cacheprovider"]


def test_a_test_needs_three_lines(pytester):
    pytester.makepyfile("""
        import linkkit_sidecar as lk

        def test_tells_the_temperature(linkkit_client, linkkit_device, linkkit_platform):
            linkkit_client.publish(linkkit_device.topic("user/update"), "21")
            assert linkkit_platform.list_messages(linkkit_device)[0].payload == b"21"

        def test_has_a_device_of_its_own(linkkit_client, linkkit_device, linkkit_platform):
            assert linkkit_platform.list_messages(linkkit_device) == ()
            assert [one.device for one in linkkit_platform.list_devices()] == [linkkit_device]
            assert [one.device for one in linkkit_client.list_devices()] == [linkkit_device]

        def test_kills_the_sidecar_and_sets_a_fault(linkkit_client, linkkit_sidecar, linkkit_platform):
            linkkit_platform.set_fault(lk.sandbox.Fault(no_connack=True))
            linkkit_sidecar.kill()

        def test_begins_well_all_the_same(linkkit_client, linkkit_platform):
            assert linkkit_client.get_device().online
            assert linkkit_platform.list_faults() == ()

        def test_deletes_its_device(linkkit_client, linkkit_device, linkkit_platform):
            linkkit_client.forget_device(linkkit_device, force=True)
            linkkit_platform.delete_device(linkkit_device)

        def test_connects_by_itself(linkkit_sidecar, linkkit_platform, linkkit_device, linkkit_credential):
            with linkkit_sidecar.client() as client:
                assert client.connect(linkkit_device, credential=linkkit_credential, endpoint=linkkit_platform.endpoint).online
                client.forget_device(linkkit_device, force=True)
    """)
    pytester.runpytest_subprocess(*PLUGINS).assert_outcomes(passed=6)


def test_starts_with_arguments_of_the_users(pytester):
    pytester.makeconftest("""
        import pytest

        @pytest.fixture(scope="session")
        def linkkit_sidecar_args():
            return ["--publish-rate", "9"]

        @pytest.fixture(scope="session")
        def linkkit_platform_args():
            return ["--keep-messages", "1"]
    """)
    pytester.makepyfile("""
        def test_it(linkkit_client, linkkit_device, linkkit_platform):
            assert linkkit_client.get_device().queue.max_messages_per_second == 9
            for payload in (b"1", b"2"):
                linkkit_client.publish(linkkit_device.topic("user/update"), payload)
            assert [m.payload for m in linkkit_platform.list_messages(linkkit_device)] == [b"2"]
    """)
    pytester.runpytest_subprocess(*PLUGINS).assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_an_asynchronous_test_has_a_client_too(pytester, mode):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.asyncio
        async def test_tells_the_temperature(linkkit_aio_client, linkkit_device, linkkit_platform):
            await linkkit_aio_client.publish(linkkit_device.topic("user/update"), "21")
            assert linkkit_platform.list_messages(linkkit_device)[0].payload == b"21"
    """)
    # The plugin must come after pytest-asyncio's, as it does where both are installed.
    pytester.runpytest_subprocess(*PLUGINS, "-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function").assert_outcomes(passed=1)


async def test_the_tests_of_this_project_have_it_too(linkkit_aio_client, linkkit_device):
    await linkkit_aio_client.wait_ready(5)
    assert (await linkkit_aio_client.get_device()).device == linkkit_device


def test_a_test_that_asks_for_nothing_starts_nothing(pytester):
    pytester.makepyfile("""
        from linkkit_sidecar import _process

        def test_it():
            assert not _process._open
    """)
    pytester.runpytest_subprocess(*PLUGINS).assert_outcomes(passed=1)
