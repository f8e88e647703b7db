"""How epochs are said."""

from diptych.training.callbacks import describe_epoch


def test_describe_epoch__leaves_the_building_of_the_graph_out_of_the_time_left():
    row = {"epoch": 2, "loss": 0.5, "accuracy": 0.75, "val_loss": 0.25, "val_accuracy": 1.0, "learning_rate": 1e-4}
    row |= {"seconds": 40.0, "images_per_second": 12.34}
    line = describe_epoch(row, 10, 30.0, best=True)
    assert line.startswith("epoch  2/10 ")
    assert "accuracy 75.0%" in line
    assert "accuracy 100.0% (best)" in line
    assert line.endswith("12.3 images/s   80 s left")
    assert "(best)" not in describe_epoch(row, 10, 30.0, best=False)
