"""Tables of users: as Hugging Face, Keras, Kaggle, spreadsheets and detection tools write them."""

import unicodedata

import pytest
from tests.builders.trees import save_noise, touch_tree

from leukoscope.data.catalog import build_catalog, load_catalog, read_catalog, save_catalog
from leukoscope.data.readers import Candidate, Rejected, find_candidates
from leukoscope.data.splits import audit_split, build_kfold, build_split
from leukoscope.data.tables import list_alike, read_cells, read_header
from leukoscope.errors import CatalogError, SplitError
from leukoscope.pipelines.data import load_table
from leukoscope.report.data_words import describe_reading, describe_reading_remarks


def write(root, text, name="t.csv", encoding="utf-8"):
    path = root / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def read(table):
    """Candidates as {id: (label, split, source, box)}, and the rest as {row: code}."""
    entries = find_candidates(table).entries
    return (
        {c.id: (c.label, c.split, c.source, c.box) for c in entries if isinstance(c, Candidate)},
        {r.row: r.code for r in entries if isinstance(r, Rejected)},
    )


# -- columns --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "file_name,label",
        "filename,class",
        "image_id,diagnosis",
        "id,target",
        "id_code,diagnosis",
        "img,labels",
        "image_name,class_name",
        "name,type",
        "fname,category",
        "File-Name,Cell.Type",
        ",path,label",
        "Unnamed: 0,path,label",
        "ImageID,LabelName",
        "image,dx",
        "image,choice",
    ],
)
def test_column_names_of_the_ecosystem(tmp_path, header):
    touch_tree(tmp_path, ["a.jpg"])
    row = "a.jpg,EOS" if header.count(",") == 1 else "7,a.jpg,EOS"
    table = write(tmp_path, f"{header}\n{row}\n")
    assert read(table) == ({"a.jpg": ("EOS", "", "", None)}, {})
    (candidate,) = find_candidates(table).entries
    assert dict(candidate.extra) == {}


def test_how_a_table_was_read_is_said(tmp_path):
    touch_tree(tmp_path, ["a.jpg"])
    table = write(tmp_path, "file_name,class,pid,xmin,ymin,xmax,ymax\na.jpg,EOS,7,1,2,3,4\n")
    text = describe_reading(find_candidates(table).reading)
    for pair in ("path = file_name", "label = class", "source = pid", "box = xmin, ymin"):
        assert pair in text


def test_names_without_their_suffix_are_found_where_they_are_there_once(tmp_path):
    touch_tree(tmp_path, ["train/a1.png", "train/b.png", "test/b.png"])
    table = write(tmp_path, "image_id,label\na1,EOS\nb,EOS\nc,EOS\nsub/a1,EOS\n")
    assert read(table) == (
        {"a1": ("EOS", "", "", None)},
        {3: "missing_file", 4: "missing_file", 5: "missing_file"},
    )


def test_file_names_are_found_in_folders_below_where_they_are_there_once(tmp_path):
    touch_tree(tmp_path, ["images/a.png", "images/b.png", "old/b.png", "images/a\u0308.png"])
    rows = "a.png,EOS\nb.png,EOS\nc.png,EOS\nold/a.png,EOS\n\u00e4.png,LYM\n"
    table = write(tmp_path, f"filename,label\n{rows}", "labels.csv")
    found, passed = read(table)
    assert found.keys() == {"a.png", "\u00e4.png"}
    assert passed == {3: "missing_file", 4: "missing_file", 5: "missing_file"}
    entries = [one for one in find_candidates(table).entries if isinstance(one, Rejected)]
    assert [one.found for one in entries] == ["2 of this name", "", ""]


@pytest.mark.parametrize(
    ("header", "row", "box"),
    [
        ("xmin,xmax,ymin,ymax", "1,11,2,12", (1, 2, 11, 12)),
        ("left,top,right,bottom", "1,2,11,12", (1, 2, 11, 12)),
        ("x1,y1,x2,y2", "1.0,2.0,11.00,12.0", (1, 2, 11, 12)),
        ("x,y,width,height", "1,2,10,10", (1, 2, 11, 12)),
        ("x,y,w,h", "1,2,10,10", (1, 2, 11, 12)),
        ("bbox_x,bbox_y,bbox_width,bbox_height", "1,2,10,10", (1, 2, 11, 12)),
        ("width,height,xmin,ymin,xmax,ymax", "640,480,1,2,11,12", (1, 2, 11, 12)),
        ("x_min,y_min,x_max,y_max", "nan,,None,-", None),
    ],
)
def test_boxes_by_any_name(tmp_path, header, row, box):
    touch_tree(tmp_path, ["a.jpg"])
    table = write(tmp_path, f"filename,cell_type,{header}\na.jpg,WBC,{row}\n")
    assert read(table)[0]["a.jpg"][3] == box


@pytest.mark.parametrize("header", ["xmin,ymin,xmax", "bbox", "x_center,y_center,w,h", "cx,cy"])
def test_columns_that_look_like_boxes_and_are_not_used_are_an_error(tmp_path, header):
    touch_tree(tmp_path, ["a.jpg"])
    row = ",".join("1" for _ in header.split(","))
    with pytest.raises(CatalogError, match="look like boxes"):
        find_candidates(write(tmp_path, f"path,label,{header}\na.jpg,WBC,{row}\n"))


def test_points_are_no_boxes_but_a_stage_has_a_place(tmp_path):
    touch_tree(tmp_path, ["a.jpg", "b.jpg"])
    with pytest.raises(CatalogError, match="x, y"):
        find_candidates(write(tmp_path, "path,label,x_px,y_px\na.jpg,RBC,5,6\na.jpg,RBC,7,8\n"))
    table = write(tmp_path, "path,label,x,y\na.jpg,RBC,5,6\nb.jpg,RBC,7,8\n")
    assert find_candidates(table).entries[0].extra == {"x": "5", "y": "6"}


def test_boxes_with_decimals_and_in_shares(tmp_path):
    save_noise(tmp_path / "a.png", size=(40, 20))
    for separator, row, box in (
        (";", "1,0;2,4;11,6;12,0", (1, 2, 12, 12)),
        (",", "1.0,2.4,11.6,12.0", (1, 2, 12, 12)),
        (",", "0.1,0.1,0.5,1", (4, 2, 20, 20)),
        (",", "0,0,1,1", (0, 0, 1, 1)),
    ):
        head = separator.join(["path", "label", "xmin", "ymin", "xmax", "ymax"])
        table = write(tmp_path, f"{head}\na.png{separator}WBC{separator}{row}\n")
        assert build_catalog(table).records[0].box == box
    for row in ("1,2,3,1e99", "1,2,3,x", f"1,2,3,{'9' * 400}"):
        table = write(tmp_path, f"path,label,xmin,ymin,xmax,ymax\na.png,WBC,{row}\n")
        assert read(table)[1] == {2: "bad_box"}


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("1", "")])
def test_columns_of_0_and_1_are_labels(tmp_path, yes, no):
    names = [f"{k}.png" for k in range(12)]
    touch_tree(tmp_path, names)
    cells = [[yes, no, no], [no, yes, no], [no, no, yes]] * 4
    cells[10] = [yes, yes, no]
    rows = "".join(f"{name},{','.join(row)},7\n" for name, row in zip(names, cells, strict=True))
    table = write(tmp_path, f"image,EOS,LYM,Odd cell,patient\n{rows}")
    found, passed = read(table)
    assert [found[f"{k}.png"][0] for k in range(3)] == ["EOS", "LYM", "Odd cell"]
    assert passed == {12: "several_labels"}
    assert "label = EOS or LYM or Odd cell" in describe_reading(find_candidates(table).reading)


@pytest.mark.parametrize("cells", ["1,1", "0,0", "1,2", "1,x"])
def test_columns_that_do_not_say_one_label_are_none(tmp_path, cells):
    touch_tree(tmp_path, ["a.png"])
    with pytest.raises(CatalogError, match="without label"):
        find_candidates(write(tmp_path, f"image,EOS,LYM\na.png,{cells}\n"))


def test_of_numbers_and_names_of_classes_the_names_are_the_labels(tmp_path):
    touch_tree(tmp_path, ["a.png", "b.png", "c.png"])

    def label(header, rows):
        table = write(tmp_path, "".join(f"{row}\n" for row in [header, *rows]))
        return [place[0] for place in read(table)[0].values()]

    rows = ["a.png,0,EOS", "b.png,1,LYM", "c.png,0,EOS"]
    assert label("path,class,class_name", rows) == ["EOS", "LYM", "EOS"]
    # Not the names of these numbers: a stain, say.
    rows = ["a.png,0,Giemsa", "b.png,1,Giemsa", "c.png,2,Wright"]
    assert label("path,label,type", rows) == ["0", "1", "2"]
    assert label("path,label,target", ["a.png,0,5", "b.png,1,6"]) == ["0", "1"]


def test_two_columns_of_one_name(tmp_path):
    touch_tree(tmp_path, ["a.png"])
    with pytest.raises(CatalogError, match="a name of its own"):
        find_candidates(write(tmp_path, "path,label,label\na.png,EOS,LYM\n"))
    assert read(write(tmp_path, "path,label,Label\na.png,EOS,EOS\n"))[0]["a.png"][0] == "EOS"


def test_a_workbook_is_said_in_words(tmp_path):
    with pytest.raises(CatalogError, match="workbook"):
        read_cells(write(tmp_path, b"PK\x03\x04\x14"))


def test_parts_of_a_table(tmp_path):
    touch_tree(tmp_path, ["a.jpg"])
    names = ["Train", "TestA", "test_b", "holdout", "odd", "NA", ""]
    rows = "".join(f"{k},a.jpg,EOS,{name}\n" for k, name in enumerate(names))
    found = find_candidates(write(tmp_path, f"id,path,label,subset\n{rows}"))
    assert [c.split for c in found.entries] == ["train", "test", "test", "test", "odd", "", ""]
    assert [c.extra.get("part") for c in found.entries][1:4] == ["TestA", "test_b", "holdout"]
    assert any("odd" in remark for remark in describe_reading_remarks(found.reading))
    for name, cell in (("fold", "3"), ("set", "Raabin")):
        table = write(tmp_path, f"path,label,{name}\na.jpg,EOS,{cell}\n")
        (candidate,) = find_candidates(table).entries
        assert (candidate.split, candidate.extra) == ("", {name: cell})


# -- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["", "sep=;\r\n", '"sep=;"\n', "\ufeff", "\n \n;;\n"])
def test_starts_of_spreadsheets(tmp_path, start):
    touch_tree(tmp_path, ["a,b.jpg"])
    table = write(tmp_path, f"{start}path;label;note\n\na,b.jpg;EOS;x\n;;\n   \n")
    assert read(table) == ({"a,b.jpg": ("EOS", "", "", None)}, {})
    assert read_header(table)[-3:] == ("path", "label", "note") or start.startswith("\n")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_quotes_may_follow_a_space(tmp_path, delimiter):
    touch_tree(tmp_path, ["a,;|.jpg"])
    rows = [["path", ' "label"', "y,z"], ['"a,;|.jpg"', ' "E,OS"', "1"]]
    rows = [[f'"{cell}"' if cell == "y,z" else cell for cell in row] for row in rows]
    table = write(tmp_path, "\n".join(delimiter.join(row) for row in rows))
    assert read(table)[0] == {"a,;|.jpg": ("E,OS", "", "", None)}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_said_in_words(tmp_path, encoding):
    with pytest.raises(CatalogError, match="UTF-16"):
        find_candidates(write(tmp_path, "path,label\na.jpg,EOS\n", encoding=encoding))


def test_paths_of_windows(tmp_path):
    touch_tree(tmp_path, ["EOS/a.jpg"])
    table = write(tmp_path, "path,label\nEOS\\a.jpg,EOS\n.\\EOS\\a.jpg,EOS\nC:\\x\\a.jpg,EOS\n")
    assert read(table) == (
        {"EOS/a.jpg": ("EOS", "", "", None), "EOS/a.jpg#2": ("EOS", "", "", None)},
        {4: "missing_file"},
    )


@pytest.mark.parametrize(("disk", "table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_both_unicode_forms_name_one_file(tmp_path, disk, table):
    name = "Z\u00fcrich/K\u00f6rper.jpg"
    touch_tree(tmp_path, [unicodedata.normalize(disk, name), "Z\u00e4/other.jpg"])
    text = unicodedata.normalize(table, name)
    missing = ["Z\u00fcrich/k\u00f6.jpg", "k\u00f6/a.jpg", "Z\u00fcrich", f"{text}/\u00f6.jpg"]
    rows = "".join(f"{path},EOS,P\u00fc\n" for path in (text, *missing))
    (found, *others) = find_candidates(write(tmp_path, f"path,label,patient\n{rows}")).entries
    assert found.path.is_file()
    assert found.source == "P\u00fc"
    assert [entry.code for entry in others] == ["missing_file"] * 4


# -- cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "NA", "nan", "None", "null", "?", "-", "n/a", "#N/A", "NaN"])
def test_missing_labels_and_sources_are_missing(tmp_path, word):
    touch_tree(tmp_path, ["a.jpg", "b.jpg"])
    table = write(tmp_path, f"path,label,patient\na.jpg,{word},P1\nb.jpg,EOS,{word}\n")
    catalog_rows, passed = read(table)
    assert catalog_rows.get("b.jpg") == ("EOS", "", "", None)
    assert word == "" or passed == {2: "no_label"}
    assert read(write(tmp_path, "path,label,patient\nb.jpg,EOS,Unknown\n"))[0]["b.jpg"][2] == ""


def test_whole_floats_are_whole_numbers(tmp_path):
    touch_tree(tmp_path, ["a.jpg"])
    table = write(tmp_path, "path,label,patient\na.jpg,3.0,7.0\na.jpg,3,7\na.jpg,3.5,7.50\n")
    assert [value[:3] for value in read(table)[0].values()] == [
        ("3", "", "7"),
        ("3", "", "7"),
        ("3.5", "", "7.50"),
    ]


def test_two_cells_on_one_image_are_no_label(tmp_path):
    touch_tree(tmp_path, ["a.jpg"])
    labels = ["NEUTROPHIL, EOSINOPHIL", "NEUTROPHIL; NEUTROPHIL", "eos+neu", "odd, strange", "eos"]
    rows = "".join(f'a.jpg,"{label}"\n' for label in labels)
    found, passed = read(write(tmp_path, f"path,label\n{rows}"))
    assert passed == dict.fromkeys((2, 3, 4), "several_labels")
    assert [value[0] for value in found.values()] == ["odd, strange", "eos"]


def test_everything_rejected_says_whose_fault_it_is(tmp_path):
    table = write(tmp_path, "path,label\n" + "".join(f"/x/{k}.jpg,EOS\n" for k in range(48)))
    with pytest.raises(CatalogError) as caught:
        build_catalog(table)
    assert str(tmp_path) in caught.value.remedy
    assert "48 files" in caught.value.found and len(caught.value.found) < 200
    save_noise(tmp_path / "a.png")
    table = write(tmp_path, "path,label\na.png,EOS\na.png,LYM\nb.png,EOS\n")
    assert len(read_catalog(table)) == 0
    with pytest.raises(CatalogError, match="2 label_conflict, 1 missing_file") as caught:
        build_catalog(table)
    assert "rejected.csv" in caught.value.remedy


# -- patients in two spellings --------------------------------------------------------------------


def test_names_that_may_be_one():
    assert list_alike(
        ["P01", "p01", "P 1", "P-1", "P10", "1", "01", "11", "1-1", "", "Z\u00fc"]
    ) == (
        ("01", "1"),
        ("P 1", "P-1", "P01", "p01"),
    )
    assert list_alike(["Zu\u0308", "Z\u00fc", "--", "??"]) == (("Zu\u0308", "Z\u00fc"),)


@pytest.mark.parametrize("protocol", ["grouped", "given"])
def test_one_patient_in_two_spellings_stops_a_split_and_is_told_at_the_scan(tmp_path, protocol):
    rows = []
    for k in range(24):
        save_noise(tmp_path / f"{k}.png", k)
        patient = f"P{k // 2:02d}" if k % 2 else f"p{k // 2:02d}"
        rows.append(f"{k}.png,{'EOS' if k % 3 else 'LYM'},{patient},{('train', 'test')[k % 2]}\n")
    table = write(tmp_path, "path,label,patient,split\n" + "".join(rows))
    catalog = build_catalog(table)
    assert len(catalog.reading.alike) == 12
    remarks = describe_reading_remarks(catalog.reading)
    assert "P00 and p00" in remarks[0] and "9 more" in remarks[-1]
    with pytest.raises(SplitError, match="spelled in one way"):
        build_split(catalog, protocol)
    with pytest.raises(SplitError, match="spelled in one way"):
        build_kfold(catalog, 3)
    codes = {found.code for found in audit_split(build_split(catalog, "random")).findings}
    assert "sources_alike" in codes


# -- our own tables, as other programs save them --------------------------------------------------


def test_a_catalog_saved_again_by_a_spreadsheet_is_read(tmp_path):
    touched = {"EOS": 2, "LYM": 3}
    for label, n in touched.items():
        for k in range(n):
            save_noise(tmp_path / "set" / label / f"{k}.png", len(label) * 10 + k + ord(label[0]))
    catalog = build_catalog(tmp_path / "set")
    path = tmp_path / "catalog.csv"
    save_catalog(catalog, path)
    lines = path.read_text().splitlines()
    changed = [line.replace(",", ";").replace(";32;24;", ";32.0;24.0;") for line in lines]
    changed[1] = changed[1].replace(";eosinophil;;;", ";Neutrophils;;nan;")
    path.write_text("\ufeffsep=;\n" + "\n".join([changed[0], "", *changed[1:], ";;;;;;;;"]))
    loaded = load_table(path)
    assert loaded.classes == ("eosinophil", "lymphocyte", "neutrophil")
    assert [r.width for r in loaded.records] == [32] * 5
    assert loaded.records[0].source == ""
    assert load_catalog(path) == loaded
    path.write_text(path.read_text().replace(";Neutrophils;", ";NaN;"))
    with pytest.raises(CatalogError, match="label is blank"):
        load_catalog(path)


def test_headers_of_what_is_no_table(tmp_path):
    assert read_header(tmp_path) == ()
    assert read_header(write(tmp_path, "")) == ()
    assert read_cells(write(tmp_path, "")).rows == ()


def test_what_is_scanned_is_what_is_loaded(tmp_path):
    """Found by the random inputs: a folder called NA, an id that looks missing, a blank folder."""
    names = ["NA/1.png", "EOS/2.png", "patient_1/EOS/3.png", "fold_1/EOS/4.png", " /EOS/5.png"]
    for seed, name in enumerate(names):
        save_noise(tmp_path / "set" / name, seed)
    catalog = read_catalog(tmp_path / "set")
    assert catalog.classes == ("eosinophil",)
    assert {(entry.id, entry.code) for entry in catalog.rejected} == {("NA/1.png", "no_label")}
    save_catalog(catalog, tmp_path / "c.csv")
    assert load_catalog(tmp_path / "c.csv").records == catalog.records
    table = write(tmp_path, "id,path,label\nNA,set/EOS/2.png,EOS\n-,set/EOS/2.png,EOS\n")
    save_catalog(build_catalog(table), tmp_path / "d.csv")
    assert [r.id for r in load_catalog(tmp_path / "d.csv").records] == ["-", "NA"]
