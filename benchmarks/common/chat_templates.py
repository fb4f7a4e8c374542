"""Chat templates in the manner of the hub's checkpoints, and the special tokens they use."""

# One tokenizer for all, each family uses some of them.
SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>", "<img>", "</img>", "<IMG_CONTEXT>", "<image>", "<video>",
    "<s>",
)  # fmt: skip
VOCABULARY = 272  # 256 bytes, the specials, and a few rows to spare as in real checkpoints


def token_id(text: str) -> int:
    """Return the id of a special token."""
    return 256 + SPECIALS.index(text)


QWEN2_VL = """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
<|im_start|>system
You are helpful.<|im_end|>
{% endif -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- else -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""

# A line of its own for each image or video; no default system message.
INTERNVL = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{ '<IMG_CONTEXT>\\n' }}
{%- elif part.type == 'video' -%}
{{ '<video>\\n' }}
{%- else -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""

# Takes no content that is a string, and shows the images of a message, then its videos, before its
# text.
LLAVA_ONEVISION = """\
{%- for message in messages -%}
<|im_start|>{{ message.role + ' ' }}
{%- for part in message.content | selectattr('type', 'equalto', 'image') -%}
<image>
{%- endfor -%}
{%- for part in message.content | selectattr('type', 'equalto', 'video') -%}
<video>
{%- endfor -%}
{%- for part in message.content | selectattr('type', 'equalto', 'text') -%}
{{ '\\n' + part.text }}
{%- endfor -%}
<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""

# Roles in plain text, images first; what begins a text is the tokenizer's to add.
LLAVA = """\
{%- for message in messages -%}
{{ message.role.upper() + ': ' }}
{%- for part in message.content | selectattr('type', 'equalto', 'image') -%}
{{ '<image>\\n' }}
{%- endfor -%}
{%- for part in message.content | selectattr('type', 'equalto', 'text') -%}
{{ part.text + ' ' }}
{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
ASSISTANT:
{%- endif -%}
"""
