"""The stored map of users' own vectors, applied. Imports icg at the first use."""

from eyecatch.core.errors import StoreDamaged
from eyecatch.core.types import Prior, Vector


def project(data: bytes, vectors: Vector) -> list[Prior] | None:
    """As core.behaviour.vectors.Project."""
    from icg.errors import CheckpointError
    from icg.users.vector_map import VectorMap

    try:
        learned = VectorMap.from_bytes(data)
    except CheckpointError as error:
        raise StoreDamaged(f"the stored {error}; fit it again") from error
    if learned.width != vectors.shape[1]:
        return None
    return [Prior(row, learned.trust) for row in learned(vectors)]
