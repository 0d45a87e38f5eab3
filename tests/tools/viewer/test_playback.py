from tools.viewer.playback import Playback


def test_time_runs_stands_jumps_and_begins_anew() -> None:
    playback = Playback(frame_count=10, frame_dt=0.1)
    assert playback.frame(5.0) == 0
    playback.play(5.0)
    assert [playback.frame(5.0 + t) for t in (0.05, 0.1, 0.25, 0.95, 1.0, 1.15)] == [0, 1, 2, 9, 0, 1]
    playback.change_speed(2.0, 5.15)
    assert playback.frame(5.15) == 1
    assert playback.frame(5.2) == 2  # 0.15 s + 2 * 0.05 s
    playback.pause(5.2)
    assert playback.frame(60.0) == 2
    playback.seek(7, 60.0)
    assert playback.frame(70.0) == 7
    playback.play(70.0)
    assert playback.frame(70.05) == 8
    playback.seek(3, 70.05)
    assert playback.frame(70.1) == 4
