from leukoscope.records import load_record, save_record
from leukoscope.smear.record import FieldRecord, FoundCell


def test_cells_at_the_edge_are_not_counted(tmp_path):
    inside = FoundCell("a.jpg", 1, (10, 20, 110, 130), 0.9, False, 7.0, 0.4)
    cut = FoundCell("a.jpg", 2, (0, 20, 50, 130), 0.8, True, 7.0)
    record = FieldRecord("a.jpg", 640, 480, "00", 7.0, "red_cells", 12, 3, (inside, cut))
    assert record.counted == (inside,)
    assert inside.diameter_um == 15.0
    save_record(record, tmp_path / "field.json")
    assert load_record(FieldRecord, tmp_path / "field.json", "leukoscope cells") == record


def test_a_field_that_cannot_be_read_counts_nothing():
    assert FieldRecord("b.jpg", reason="truncated", found="half").counted == ()


def test_a_scale_says_what_it_rests_on():
    codes = ("scale_uncertain", "no_white_cells")
    record = FieldRecord("c.jpg", 640, 480, "00", 7.0, "white_cells", codes=codes)
    assert record.codes == codes
    sources = [FieldRecord("d.jpg", scale_source=one).scale_source for one in ("given", "none")]
    assert sources == ["given", "none"]
