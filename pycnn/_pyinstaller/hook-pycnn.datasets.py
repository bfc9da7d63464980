"""A frozen program has the files of `pycnn.datasets`; modules PyInstaller finds by itself."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("pycnn.datasets")
