"""The recipe of `luvc-tiny-qwen2vl`: from nothing to a stock Qwen2-VL checkpoint on two cores."""
