"""Folders of images on the command line: what is read, how, and what is said where it cannot be."""

import os
import sys

import numpy as np
import pytest

pytest.importorskip("click")
pytest.importorskip("pandas")
pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

import pycnn  # noqa: E402
from pycnn.cli import images  # noqa: E402
from pycnn.exceptions import DataError  # noqa: E402


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bars(count=30, side=10, seed=0, colour=False):
    """Return noisy images of a bar, lying or standing, by the name of their class."""
    rng = np.random.default_rng(seed)
    classes = {}
    for name in ("lying", "standing"):
        pixels = rng.integers(0, 60, (count, side, side, 3), np.uint8)
        pixels[np.arange(count), rng.integers(0, side, count)] += 180
        pixels = pixels if colour else pixels[..., 0]
        classes[name] = pixels if name == "lying" else pixels.swapaxes(1, 2)
    return classes


def write(folder, classes, suffix="png"):
    """Write images as files, a folder a class."""
    for name, pixels in classes.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(place / f"{i:03}.{suffix}")


@pytest.fixture
def photos(in_own_folder):
    """A folder of two classes, each of 30 grey images."""
    write(in_own_folder / "photos", bars())
    return "photos"


@pytest.fixture
def model(photos, succeed):
    succeed("train", photos, "--epochs", 2, "--no-plot", "--quiet")
    return "model.safetensors"


# ------------------------------------------------------------------ train, evaluate, predict


def test_a_folder_of_images_is_learned_scored_and_predicted(photos, succeed):
    out = succeed("train", photos, "--epochs", 30)
    assert "photos: 60 images as 10 x 10 pixels in grey; 12 held out for the test" in out
    assert "2 classes: lying, standing" in out
    assert "10x10x1-conv16-conv32-64-1, relu, sigmoid output" in out
    assert float(out.split("accuracy")[1].split()[0]) >= 0.9
    network = pycnn.load("model.safetensors")
    assert network.input_shape == (10, 10, 1)
    assert network.classes.tolist() == ["lying", "standing"]
    told = succeed("info", "model.safetensors")
    assert "48 images of photos" in told
    assert "10 x 10 pixels in grey" in told
    assert "2: lying, standing" in told
    write(images.Path("others"), bars(20, seed=1))
    scored = succeed("evaluate", "model.safetensors", "others")
    assert "(40 images)" in scored
    accuracy = float(scored.split("accuracy")[1].split()[0])
    assert accuracy >= 0.9
    head, *lines = succeed("predict", "model.safetensors", "others/lying", "others/standing")[
        :-1
    ].split("\n")
    assert head == "file,class,probability of lying,probability of standing"
    assert [line.split(",")[0] for line in lines[:2]] == [
        "others/lying/000.png",
        "others/lying/001.png",
    ]
    right = [line.split(",")[0].split("/")[1] == line.split(",")[1] for line in lines]
    assert np.mean(right) == accuracy
    assert sum(map(float, lines[0].split(",")[2:])) == pytest.approx(1, abs=1e-5)


def test_predictions_are_those_of_python_whatever_is_read_at_a_time(
    model, photos, succeed, monkeypatch
):
    lines = succeed("predict", model, f"{photos}/lying")
    X, labels = images.read_labelled(images.Path(photos), (10, 10, 1))
    assert (X.dtype, X.shape) == (np.uint8, (60, 10, 10, 1))
    assert labels.tolist() == ["lying"] * 30 + ["standing"] * 30
    predicted = [line.split(",")[1] for line in lines.splitlines()[1:]]
    assert predicted == pycnn.load(model).predict_classes(X[:30]).tolist()
    monkeypatch.setattr(images, "IMAGES_PER_PIECE", 7)
    assert succeed("predict", model, f"{photos}/lying") == lines
    succeed("predict", model, f"{photos}/lying", "--out", "out.csv")
    assert images.Path("out.csv").read_text() == lines


def test_sizes_may_differ_and_colours_are_kept(in_own_folder, succeed):
    folder = in_own_folder / "photos"
    write(folder, bars(4, 12, colour=True))
    write(folder, {"lying": bars(1, 20, colour=True)["lying"]})
    succeed("train", "photos", "--epochs", 1, "--no-plot")
    assert pycnn.load("model.safetensors").input_shape == (12, 12, 3)
    succeed("train", "photos", "--epochs", 1, "--no-plot", "--size", 7, "--grey")
    assert pycnn.load("model.safetensors").input_shape == (7, 7, 1)
    assert "lying" in succeed("predict", "model.safetensors", "photos/lying/000.png")


def test_large_images_are_made_smaller(in_own_folder, succeed):
    write(in_own_folder / "photos", bars(2, 100))
    succeed("train", "photos", "--epochs", 1, "--no-plot")
    assert pycnn.load("model.safetensors").input_shape == (images.SIZE, images.SIZE, 1)


def test_a_training_is_the_same_to_the_bit_each_time(photos, succeed):
    parameters = []
    for order in (1, -1):  # also where the files were written in another order
        os.rename(photos, "old")
        write(images.Path(photos), dict(list(bars().items())[::order]))
        succeed("train", photos, "--epochs", 2, "--no-plot", "--quiet")
        parameters.append(pycnn.load("model.safetensors").parameters)
        for path in sorted(images.Path("old").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        images.Path("old").rmdir()
    np.testing.assert_array_equal(*parameters)


@pytest.mark.parametrize(
    ("side", "kept", "filters"),
    [
        (1, 1, [16]),
        (7, 7, [16]),
        (8, 4, [16, 32]),
        (28, 7, [16, 32, 64]),
        (40, 5, [16, 32, 64, 64]),
        (150, 9, [16, 32, 64, 64]),
    ],
)
def test_convolutions_go_on_until_little_of_the_image_is_left(in_own_folder, side, kept, filters):
    write(in_own_folder / "photos", bars(2, 3))
    data = images.ImageSet(images.Path("photos"), side, True, None, None, 0, bar=False)
    layers = data.first_layers("tanh")
    network = pycnn.Network(data.X.shape[1:], [*layers, pycnn.Dense(2, "softmax")], seed=0)
    assert network.layers[-1].W.shape == (2, kept * kept * filters[-1])
    convolutions = [layer for layer in layers if isinstance(layer, pycnn.Conv2D)]
    assert [layer.filters for layer in convolutions] == filters
    assert {layer.activation for layer in layers if isinstance(layer, pycnn.BatchNorm)} == {"tanh"}
    assert data.first_sizes() == [f"{side}x{side}x1", *(f"conv{n}" for n in filters)]
    scaled = (data.X[data.fit] * layers[0].scale + layers[0].offset).ravel()
    assert (scaled.mean(), scaled.std()) == pytest.approx((0, 1), abs=1e-12)


def test_options_of_training_hold_for_images(photos, succeed):
    options = ("--class-weight", "balanced", "--test-size", 0.5, "--patience", 0, "--l2", 0)
    more = ("--hidden", "8,4", "--dropout", 0.1, "--optimizer", "adam", "--epochs", 1)
    out = succeed("train", photos, *options, *more, "--no-plot")
    assert "30 held out for the test" in out
    assert "8-4-1" in out
    assert [layer.units for layer in pycnn.load("model.safetensors").layers[-5::2]] == [8, 4, 1]


def test_a_model_from_python_reads_images_by_the_shape_of_its_inputs(photos, pycnn_command):
    net = pycnn.Network((6, 9, 3), [pycnn.Flatten(), pycnn.Dense(1, "sigmoid")], seed=0)
    net.save("mine.safetensors")
    status, out, err = pycnn_command("predict", "mine.safetensors", f"{photos}/lying/000.png")
    assert status == 0
    assert "the model does not say how images were read for it; taken as bytes 0 ... 255" in err
    X = images.read_image(images.Path(photos, "lying", "000.png"), (6, 9, 3))
    assert float(out.split(",")[-1]) == pytest.approx(net.predict(X[None])[0, 0], rel=1e-5)


def test_an_exported_file_tests_itself_by_images(photos, model, succeed, fail):
    rows = ("--rows", f"{photos}/lying")
    assert " of 30" in succeed("export", model, "out.c", *rows, "--weights", "int8")
    assert "the model reads images" in fail("export", model, "out.c", *rows, "--na", "x")


# ------------------------------------------------------------------ pixels


@pytest.fixture
def read():
    """Return an image as it is read after it has been written to a file."""

    def saved(image, shape, name="image.png", **settings):
        image.save(name, **settings)
        return images.read_image(images.Path(name), shape)

    return saved


RAMP = np.arange(96, dtype=np.uint8).reshape(4, 8, 3) * 2


def test_an_image_of_the_size_comes_as_it_is(read):
    image = Image.fromarray(RAMP)
    np.testing.assert_array_equal(read(image, (4, 8, 3)), RAMP, strict=True)
    np.testing.assert_array_equal(read(image.convert("L"), (4, 8, 1))[..., 0], image.convert("L"))
    grey = read(image.convert("L"), (4, 8, 3))
    assert (grey == grey[..., :1]).all()


def test_the_middle_of_the_longer_side_is_cut_out(read):
    np.testing.assert_array_equal(read(Image.fromarray(RAMP), (4, 4, 3)), RAMP[:, 2:6])
    upright = RAMP.swapaxes(0, 1)
    np.testing.assert_array_equal(read(Image.fromarray(upright), (4, 4, 3)), upright[2:6])


def test_the_shorter_side_is_brought_to_size(read):
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 200
    small = read(Image.fromarray(wide), (5, 5, 1))
    np.testing.assert_allclose(small, 200, atol=20)  # cubic: it sees what is beside
    assert (read(Image.fromarray(wide[:, 20:40]), (40, 40, 1)) == 200).all()


@pytest.mark.parametrize(("tag", "turned"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_the_camera_was_held_as_it_says(read, tag, turned):
    exif = Image.Exif()
    exif[0x0112] = tag
    result = read(Image.fromarray(RAMP), np.rot90(RAMP, turned).shape, exif=exif)
    np.testing.assert_array_equal(result, np.rot90(RAMP, turned))


def test_what_is_transparent_becomes_white(read):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[..., 3] = [[0, 255, 51], [0, 255, 51]]
    assert read(Image.fromarray(pixels), (2, 3, 3))[0, :, 0].tolist() == [255, 0, 204]
    grey = Image.fromarray(pixels).convert("LA")
    assert read(grey, (2, 3, 1))[0, :, 0].tolist() == [255, 0, 204]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert read(palette, (1, 2, 3), transparency=0)[0].tolist() == [[255, 255, 255], [40, 50, 60]]
    assert read(palette, (1, 2, 3), "image.gif")[0].tolist() == [[10, 20, 30], [40, 50, 60]]


def test_other_kinds_of_pixels_become_bytes(read):
    deep = np.array([[0, 255, 256, 65535]], np.uint16)
    assert read(Image.fromarray(deep), (1, 4, 1))[0, :, 0].tolist() == [0, 0, 1, 255]
    inks = Image.new("CMYK", (3, 3), (0, 0, 0, 255))
    assert (read(inks, (3, 3, 3), "image.tif") == 0).all()
    assert set(read(Image.new("1", (3, 3), 1), (3, 3, 1)).ravel()) == {255}
    with pytest.raises(DataError, match=r"image\.tif: its pixels are floats"):
        read(Image.new("F", (3, 3)), (3, 3, 1), "image.tif")


def test_a_large_jpeg_is_read_as_what_it_shows(read):
    result = read(Image.new("RGB", (1600, 1200), (200, 40, 90)), (8, 8, 3), "image.jpg")
    np.testing.assert_allclose(result, np.broadcast_to([200, 40, 90], (8, 8, 3)), atol=3)


# ------------------------------------------------------------------ what lies in folders


def test_hidden_files_are_left_out_and_others_with_a_note(photos, pycnn_command):
    for name in (".DS_Store", "lying/.thumb.png", "notes.txt"):
        images.Path(photos, name).write_bytes(b"none")
    images.Path(photos, "standing/more").mkdir()
    images.Path(photos, "standing/read.me").write_text("none")
    images.Path(photos, ".git").mkdir()
    status, out, err = pycnn_command("train", photos, "--epochs", 1, "--no-plot")
    assert status == 0
    assert "60 images" in out
    assert err.count("\n") == 1
    assert "left out, as they are no images by their names: 2 file(s) and folder(s), such as" in err


def test_links_are_followed(photos, succeed):
    os.symlink(os.path.abspath(f"{photos}/lying"), "elsewhere")
    os.makedirs("linked/standing")
    os.symlink(os.path.abspath("elsewhere"), "linked/lying")
    for name in os.listdir(f"{photos}/standing")[:20]:
        os.symlink(os.path.abspath(f"{photos}/standing/{name}"), f"linked/standing/{name}")
    assert "linked: 50 images" in succeed("train", "linked", "--epochs", 1, "--no-plot")


def spoil(name, content=b""):
    """Put a file into the folder of images."""
    path = images.Path("photos", name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def truncate(path):
    Image.effect_noise((200, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[:9000])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda: spoil("lying/000.png"),
            "photos/lying/000.png is not an intact image: it is empty",
        ),
        (lambda: spoil("lying/a.png", b"text"), "a.png is not an intact image: Pillow knows no fo"),
        (lambda: spoil("lying/z.JPG", b"\xff\xd8\xff\xe0"), "z.JPG is not an intact image"),
        (lambda: truncate(images.Path("photos/lying/x.png")), "x.png is not an intact image: "),
        (lambda: truncate(images.Path("photos/lying/x.jpg")), "x.jpg is not an intact image: "),
        (lambda: os.symlink("nowhere", "photos/lying/q.png"), "q.png: No such file"),
        (
            lambda: os.mkdir("photos/nothing"),
            "photos/nothing is taken for a class, and holds no im",
        ),
        (lambda: spoil("nothing/a.txt"), "photos/nothing is taken for a class"),
        (
            lambda: os.makedirs("photos/a/b"),
            "are the classes in there, as in `pycnn train photos/a`",
        ),
    ],
)
def test_what_cannot_be_read_is_named(photos, fail, change, message):
    change()
    assert message in fail("train", photos, "--epochs", 1, "--no-plot")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "photos/lying"), "for each class, with its images; it has 30 images itself"),
        (
            ("train", "empty"),
            "empty must have a folder for each class, with its images; it has none",
        ),
        (("train", "one"), "one has one class only, 'lying'"),
        (("train", "nowhere"), "nowhere: No such file"),
        (("train", "photos", "--target", "x"), "--target is for a table, and photos is a folder"),
        (("train", "photos", "--drop", "x"), "--drop is for a table"),
        (("train", "photos", "--task", "regression"), "--task is for a table"),
        (("train", "photos", "--na", "x"), "--na is for a table"),
        (("train", "photos", "--size", "0"), "--size"),
        (("train", "photos", "--test-size", "1"), "--test-size must be at least 0 and below 1"),
        (("train", "photos", "--test-size", "0.001"), "of 60 images is not one image"),
        (
            ("train", "--size", "9"),
            "--size is for a folder of images, and the built-in digits are no",
        ),
        (
            ("train", "a.csv", "--target", "b", "--grey"),
            "--grey is for a folder of images, and a.csv",
        ),
        (("evaluate", "model.safetensors"), "give a folder of images"),
        (("evaluate", "model.safetensors", "photos", "--target", "x"), "--target is for a table"),
        (("evaluate", "model.safetensors", "photos/lying"), "it has 30 images itself"),
        (
            ("evaluate", "model.safetensors", "other"),
            "labels that are not among the model's classes",
        ),
        (("predict", "model.safetensors", "empty"), "empty is a folder without images"),
        (("predict", "model.safetensors", "a.csv"), "a.csv is not an intact image"),
        (("predict", "model.safetensors", "none.png"), "none.png: No such file"),
        (
            ("predict", "model.safetensors", "photos/lying", "--decimal", ","),
            "--decimal is for a table",
        ),
        (("predict", "table.safetensors", "photos"), "shape (2,), are no images"),
        (("predict", "table.safetensors", "a.csv", "a.csv"), "reads one at a time, got 2 files"),
        (("evaluate", "number.safetensors", "photos"), "the model has no classes"),
    ],
)
def test_what_makes_no_sense_is_refused(model, photos, fail, arguments, message):
    write(images.Path("one"), {"lying": bars(3)["lying"]})
    write(images.Path("other"), {"lyng": bars(3)["lying"]})
    os.mkdir("empty")
    images.Path("a.csv").write_text("a,b\n1,2\n")
    pycnn.Network(2, [pycnn.Dense(2, "softmax")], seed=0).save("table.safetensors")
    layers = [pycnn.Flatten(), pycnn.Dense(1)]
    number = pycnn.Network((4, 4, 1), layers, seed=0)
    number.metadata["images"] = {"source": "a", "training_images": 3}
    number.save("number.safetensors")
    assert message in fail(*arguments)


@pytest.mark.parametrize(
    "kept",
    [
        1,
        {},
        {"source": "a"},
        {"source": 1, "training_images": 1},
        {"source": "a", "training_images": "b"},
    ],
)
def test_a_damaged_note_on_images_is_refused(model, fail, kept):
    network = pycnn.load(model)
    network.metadata["images"] = kept
    network.save(model)
    for command in (("predict", model, "photos/lying"), ("info", model)):
        assert "the model's note on its images is damaged" in fail(*command)


def test_a_note_on_images_goes_with_inputs_that_are_some(fail):
    network = pycnn.Network(3, [pycnn.Dense(2, "softmax")], seed=0)
    network.metadata["images"] = {"source": "a", "training_images": 3}
    network.save("model.safetensors")
    assert "are no images" in fail("info", "model.safetensors")


def test_a_bomb_is_refused(photos, fail, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "not an intact image: Image size" in fail("train", photos)


def test_without_pillow_it_is_said_what_brings_it(photos, fail, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "images need Pillow: pip install 'pycnn[images]'" in fail("train", photos)


def test_a_bar_is_shown_while_images_are_read_where_somebody_looks(
    photos, pycnn_command, monkeypatch
):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(images, "wants_bar", lambda progress: True)
    options = ("--epochs", 1, "--no-plot")
    assert "reading images" in pycnn_command("train", photos, *options)[2]
    assert "reading images" not in pycnn_command("train", photos, *options, "--quiet")[2]
