"""An LLM that knows the sentences of the pages."""

import json
from typing import Any

from ..llm.server import Reply, reply

ENGLISH = {
    "柳传志在北京创立了联想集团。": "Liu Chuanzhi founded Lenovo Group in Beijing.",
    "柳传志于1984年在北京创立了联想集团。": "Liu Chuanzhi founded Lenovo Group in Beijing in 1984.",
    "二甲双胍是治疗2型糖尿病的首选药物。": "Metformin is the drug of choice for type 2 diabetes.",
    "阿司匹林可能引起胃溃疡。": "Aspirin may cause gastric ulcers.",
    "患者服用阿司匹林后出现头痛。": "The patient developed a headache after taking aspirin.",
}
NAMES = {
    "Liu Chuanzhi": "柳传志",
    "Beijing": "北京",
    "Lenovo Group": "联想集团",
    "Metformin": "二甲双胍",
    "type 2 diabetes": "2型糖尿病",
    "Aspirin": "阿司匹林",
    "aspirin": "阿司匹林",
    "gastric ulcers": "胃溃疡",
    "headache": "头痛",
}


def answer(request: dict[str, Any]) -> Reply:
    """The answer to a request for a translation, or for the words behind names."""
    text = request["messages"][-1]["content"]
    if "\nNames: " in text:
        names = json.loads(text.rsplit("\nNames: ", 1)[1].split("\n")[0])
        return reply(json.dumps({name: NAMES.get(name) for name in names}, ensure_ascii=False))
    source = text.rsplit("\nEnglish:", 1)[0].rsplit(": ", 1)[1]
    return reply(ENGLISH[source])
