"""One file a place that a study can be exported to; a further one is a further choice of ``--to``.

A target has ``export(study, place, runs) -> Exported``, and may have ``check(place)``, which raises
:class:`study.errors.UsageError` before anything is read. What is not one of the project's own
dependencies it imports when it is called: :func:`study.export.extras.needed`.
"""
