"""Chat templates of one line, as they are published, and what longer ones mean for plain text."""

LOOP = "{% for message in messages %}"
PROMPT = "{% if add_generation_prompt %}"
CHATML_TURN = (
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
)
CHATML_END = "{% endfor %}" + PROMPT + "{{ '<|im_start|>assistant\n' }}{% endif %}"
SET_PROMPT = (
    "{% if not add_generation_prompt is defined %}"
    "{% set add_generation_prompt = false %}{% endif %}"
)


def with_default(system):
    """Write the template of Qwen2, with a system turn of a text where none is given."""
    first = "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    return f"{LOOP}{first}{system}<|im_end|>\n' }}}}{{% endif %}}{CHATML_TURN}{CHATML_END}"


ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}"
)


def mistral(answer):
    return (
        "{{ bos_token }}" + LOOP + ALTERNATE + "{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + " + answer + "}}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}"
        "{% endif %}{% endfor %}"
    )


# By the name of the form, each with the tokens that it uses.
PUBLISHED = {
    "chatml": [LOOP + CHATML_TURN + CHATML_END, SET_PROMPT + LOOP + CHATML_TURN + CHATML_END],
    "qwen2": [with_default("You are a helpful assistant.")],
    "smollm2": [
        with_default("You are a helpful AI assistant named SmolLM, trained by Hugging Face")
    ],
    "llama3": [
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
        "+ message['content'] | trim + '<|eot_id|>' %}"
        "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
        "{% endfor %}" + prompt + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}" + end
        for prompt, end in ((PROMPT, "{% endif %}"), ("", ""))
    ],
    "gemma2": [
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}" + LOOP + ALTERNATE +
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
        "{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
        "{% endfor %}" + PROMPT + "{{'<start_of_turn>model\n'}}{% endif %}"
    ],
    "mistral": [mistral("eos_token")],
    "mistral_spaced": [mistral("eos_token + ' '")],
    "zephyr": [
        LOOP + "\n" + "".join(
            f"{{% {test} message['role'] == '{role}' %}}\n"
            f"{{{{ '<|{role}|>\n' {plus} message['content'] + eos_token }}}}\n"
            for test, role, plus in (
                ("if", "user", "+"), ("elif", "system", "+"), ("elif", "assistant", " +"),
            )
        )
        + "{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n"
        "{% endif %}\n{% endfor %}"
    ],
    "phi3": [
        LOOP + "".join(
            f"{{% {test} message['role'] == '{role}' %}}"
            f"{{{{'<|{role}|>\n' + message['content'] + '<|end|>\n'}}}}"
            for test, role in (("if", "system"), ("elif", "user"), ("elif", "assistant"))
        )
        + "{% endif %}{% endfor %}" + PROMPT
        + "{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
    ],
}  # fmt: skip

# What the templates of these models do with texts: ours, shorter and without tools.
RESTATED = {
    "qwen2_5": with_default("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "qwen3": LOOP + "{% set words = message['content'].split('</think>')[-1] %}"
    "{% if message['role'] == 'assistant' %}{% set words = words.lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + words + '<|im_end|>\n' }}{% endfor %}" + PROMPT
    + "{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
    "llama3_2": "{{ bos_token }}{% set ns = namespace(system='') %}" + LOOP
    + "{% if message['role'] == 'system' %}{% set ns.system = message['content'] | trim %}"
    "{% endif %}{% endfor %}{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge "
    "Date: December 2023\nToday Date: ' + (date_string | default('26 Jul 2024')) + '\n\n' "
    "+ ns.system + '<|eot_id|>' }}" + LOOP + "{% if message['role'] != 'system' %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endif %}{% endfor %}" + PROMPT
    + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "gemma3": "{{ bos_token }}{% set ns = namespace(before='') %}" + LOOP
    + "{% if message['role'] == 'system' %}{% set ns.before = message['content'] + '\n\n' %}"
    "{% else %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user')"
    " + '\n' + ns.before + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% set ns.before = '' %}{% endif %}{% endfor %}" + PROMPT
    + "{{ '<start_of_turn>model\n' }}{% endif %}",
    "gemma4": "{{ bos_token }}" + LOOP
    + "{{ '<|turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n'"
    " + message['content'].split('<channel|>')[-1] | trim + '<turn|>\n' }}{% endfor %}" + PROMPT
    + "{{ '<|turn>model\n<|channel>thought\n<channel|>' }}{% endif %}",
}  # fmt: skip
