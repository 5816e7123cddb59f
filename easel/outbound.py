"""Ground: the one door outside: an address is resolved, judged and pinned before anything connects."""

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx

from easel.errors import OutboundError

LARGEST_BODY = 25_000_000
LOOKUP_SECONDS = 5
FETCH_SECONDS = 10
POST_SECONDS = 15
HOPS = 3
ANYWHERE = ("0.0.0.0/0", "::/0")  # for addresses that the operator chose, which may be private

# A look-up that was given up holds its thread for half a minute; those that pictures need are others.
LOOKUPS = ThreadPoolExecutor(128, "lookup")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# The special-purpose registries of IANA, spelled out: `is_global` differs between Python versions.
NOT_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        "168.63.129.16/32",  # the host agent of Azure's machines
        *("::/3", "4000::/2", "8000::/1"),  # all of IPv6 but 2000::/3
        *("2001::/23", "2001:db8::/32", "3fff::/20"),
        "2002::/16",  # 6to4 carries an IPv4 address of anyone's choice
    )
]


async def check(url: str, allow: Sequence[str] = ()) -> None:
    """Raise OutboundError unless `url` may be reached now: for URLs that are used later."""
    await _resolved(_parsed(url), allow)


async def fetch(url: str, allow: Sequence[str] = ()) -> bytes:
    """What `url` holds: 25 MB at most, within ten seconds and three redirects."""
    async with _client(url, allow, FETCH_SECONDS) as client, client.stream("GET", _parsed(url)) as response:
        return await _body(response, url)


async def ask(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    allow: Sequence[str] = (),
    seconds: float | None = None,
) -> bytes:
    """What `url` answers to `body`: 25 MB at most, within so many seconds, or 15; redirects are not
    followed."""
    async with (
        _client(url, allow, seconds or POST_SECONDS) as client,
        client.stream(
            "POST", _parsed(url), content=body, headers=headers, follow_redirects=False
        ) as response,
    ):
        return await _body(response, url)


async def _body(response: httpx.Response, url: str) -> bytes:
    if not response.is_success:
        raise OutboundError(f"{url[:200]!r} answered {response.status_code}; it must answer with the file")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise OutboundError(f"{url[:200]!r} is larger than 25 MB; use a smaller file")
    return bytes(body)


async def post(url: str, body: bytes, headers: Mapping[str, str], allow: Sequence[str] = ()) -> int:
    """Send `body` to `url` and return the status of the answer; redirects are not followed."""
    async with (
        _client(url, allow, POST_SECONDS) as client,
        client.stream(
            "POST", _parsed(url), content=body, headers=headers, follow_redirects=False
        ) as response,
    ):
        return response.status_code


@asynccontextmanager
async def _client(url: str, allow: Sequence[str], seconds: float) -> AsyncIterator[httpx.AsyncClient]:
    """A client for one exchange: a pinned connection is never shared between two names."""
    client = httpx.AsyncClient(
        transport=PinnedTransport(allow),
        timeout=seconds,
        follow_redirects=True,
        max_redirects=HOPS,
        trust_env=False,  # a proxy would resolve names again, behind the check
        headers={"User-Agent": "easel", "Accept-Encoding": "identity"},
    )
    try:
        async with asyncio.timeout(seconds), client:
            yield client
    except TimeoutError as error:
        raise OutboundError(f"{url[:200]!r} took more than {seconds} seconds; use a faster host") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OutboundError(f"{url[:200]!r} cannot be reached: {error or type(error).__name__}") from error


class PinnedTransport(httpx.AsyncBaseTransport):
    """Connects to the very address that was judged, so that a second look-up cannot give another."""

    def __init__(self, allow: Sequence[str]) -> None:
        self.allow = allow
        self.inner = httpx.AsyncHTTPTransport(verify=_certificates(), trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        address = await _resolved(request.url, self.allow)
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,  # the Host header still names the host that was asked for
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": _host(request.url)},
        )
        return await self.inner.handle_async_request(pinned)

    async def aclose(self) -> None:
        await self.inner.aclose()


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise OutboundError(
            f"{url[:200]!r} is no URL ({error}); write https://example.com/picture.png"
        ) from error
    if parsed.scheme not in ("http", "https") or not parsed.host or (parsed.port or 0) > 65535:
        raise OutboundError(f"{url[:200]!r} is no http(s) URL; write https://example.com/picture.png")
    return parsed


async def _resolved(url: httpx.URL, allow: Sequence[str]) -> Address:
    """The first address of the URL's host, once all of them are found to be public or allowed."""
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            look_up = functools.partial(socket.getaddrinfo, _host(url), url.port, type=socket.SOCK_STREAM)
            found = await asyncio.get_running_loop().run_in_executor(LOOKUPS, look_up)
    except (OSError, UnicodeError) as error:
        raise OutboundError(f"The host {url.host!r} cannot be found; check its spelling") from error
    addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
    networks = [ipaddress.ip_network(network) for network in allow]
    for address in addresses:
        if not _is_public(address) and not any(address in network for network in networks):
            raise OutboundError(
                f"The host {url.host!r} leads to {address}, which is no public address; "
                "allow its network with EASEL_ALLOW_NETWORKS or use a public URL"
            )
    return addresses[0]


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _is_public(address: Address) -> bool:
    address = getattr(address, "ipv4_mapped", None) or address
    return not any(address in network for network in NOT_PUBLIC)
