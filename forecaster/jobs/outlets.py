"""A night's forecasts for those who do not read `forecasts/`: rows in a database, partitions in a folder of theirs."""

import os
import re
import shutil
from typing import Any

from forecaster.errors import ConfigError, DataError
from forecaster.jobs.home import Home
from forecaster.jobs.publish import FORECASTS, edition_folder
from forecaster.jobs.sql import published_table, write_sql
from forecaster.jobs.whole import write_whole
from forecaster.operations.settings import PublishConfig

VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")


def send_out(config: PublishConfig, *, panel: str, night: str, edition: str, home: Home) -> dict[str, Any]:
    """Bring an edition to wherever it is wanted, the database first; what came of it.

    Done twice, it changes nothing: rows are upserted, and a file is put in the place of the same one. Raises ConfigError for an
    address that is none, DataError where nothing can be written; each place has all of the edition, or none.
    """
    told: dict[str, Any] = {}
    if config.to is not None:
        table = published_table(str(edition_folder(home, panel, night, edition) / FORECASTS), home)
        written = write_sql(table, _filled(config.to), config.table.format(panel=panel))
        told["database"] = {"database": written.database, "table": written.table, "rows": written.rows - written.kept_later}
    if config.folder is not None:
        place = home.path / config.folder.format(panel=panel) / f"night={night}" / FORECASTS
        source = home.forecasts / panel / f"night={night}" / FORECASTS  # a past night keeps its own
        try:
            write_whole(place, lambda beside: shutil.copyfile(source, beside))
        except OSError as error:
            raise DataError(
                f"operations.publish.folder: {place} cannot be written ({error.strerror}). Free the way and type the night again."
            ) from error
        told["file"] = str(place)
    return told


def _filled(address: str) -> str:
    """An address with the words that the environment has for $NAME and ${NAME}.

    >>> _filled("sqlite:///forecasts.db")
    'sqlite:///forecasts.db'
    """

    def word(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ConfigError(f"operations.publish.to names ${name}, which the environment does not have. Set it for this job.")
        return os.environ[name]

    return VARIABLE.sub(word, address)
