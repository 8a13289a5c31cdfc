"""Certificates of an authority of the test's own, as files."""

from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme

NAME = "localhost"


@dataclass(frozen=True)
class Authority:
    ca: trustme.CA
    folder: Path

    @property
    def file(self) -> Path:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(path))
        return path

    def issue(self, name: str, *names: str, common_name: str | None = None) -> tuple[Path, Path]:
        """The files `name`.pem and `name`.key of a new certificate, and their names."""
        issued = self.ca.issue_cert(*names, common_name=common_name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued.private_key_pem.write_to_path(str(key))
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return certificate, key

    def channel(self, port: int, own: tuple[Path, Path] | None = None) -> grpc.aio.Channel:
        """To the server on `port`, trusting this authority alone; `own`: the client's certificate and key."""
        certificate, key = (path.read_bytes() for path in own) if own else (None, None)
        credentials = grpc.ssl_channel_credentials(self.ca.cert_pem.bytes(), key, certificate)
        return grpc.aio.secure_channel(f"{NAME}:{port}", credentials)


def authority_in(folder: Path) -> Authority:
    folder.mkdir()
    return Authority(trustme.CA(), folder)
