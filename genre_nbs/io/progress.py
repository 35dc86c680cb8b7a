"A progress bar for bytes that come or are unpacked."


class Bar:
    "A progress bar on standard error that counts bytes; silent unless asked for."

    def __init__(self, title, total, show):
        self.title, self.total, self.show = title, total or None, show

    def __enter__(self):
        if self.show:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            self.progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self.progress.start()
            self.task = self.progress.add_task(self.title, total=self.total)
        return self

    def at(self, done):
        if self.show:
            self.progress.update(self.task, completed=done)

    def __exit__(self, *error):
        if self.show:
            self.progress.stop()
