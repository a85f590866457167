"""The tests' reader of pages: a block that it overlooked would never run."""

import pytest
from support import pages

TEXT = """# A page: `one`, two

<!-- not run: a cluster -->
```bash
X=1 purejaxvpg train CartPole-v1 \\
  --seed $i   # a comment
cd runs && purejaxvpg report "a b" > out.txt
cat <<EOF
purejaxvpg nothing
EOF
```

```python
# mine/env.py: mine
x = 1
```

<!-- file: scores.csv -->
```text
a,b
```

## A page: `one`, two
(label)=
[here](other.md#x), ![a picture](a.png), [there](https://example.org), `[code](no.md)`
"""


def test_blocks_have_their_comment_language_and_file():
    bash, python, text = pages.blocks(TEXT)
    assert (bash.language, bash.note, bash.line) == ("bash", "not run: a cluster", 3)
    assert [block.runs for block in (bash, python, text)] == [False, True, True]
    assert [block.file for block in (bash, python, text)] == [None, "mine/env.py", "scores.csv"]
    assert pages.blocks(TEXT, "python") == [python]


def test_commands_are_words_without_settings_pipes_and_files():
    assert pages.commands(pages.blocks(TEXT, "bash")[0].code) == [
        ["purejaxvpg", "train", "CartPole-v1", "--seed", "1"],
        ["cd", "runs"],
        ["purejaxvpg", "report", "a b"],
        ["cat"],
    ]
    assert pages.commands("for x in a b; do ls $x | head -1 & done")[1] == ["do", "ls", "1"]


def test_links_and_anchors():
    assert pages.links(TEXT) == ["other.md#x", "a.png"]
    assert pages.anchors(TEXT) == {"a-page-one-two", "a-page-one-two-1", "label"}


def test_what_a_command_line_gets_wrong_is_seen():
    pages.check_command(["purejaxvpg", "train", "CartPole-v1", "--total-steps", "2_000"])
    pages.check_command(["purejaxvpg", "--version"])
    pages.check_command(["python", "scripts/settings.py"])
    for words in (["train", "CartPole-v1", "--total-steps", "999"], ["trian"]):
        with pytest.raises(Exception, match=r"total_steps=999|unknown command trian"):
            pages.check_command(["purejaxvpg", *words])
    with pytest.raises(AssertionError, match=r"there is no examples/nothing\.py"):
        pages.check_command(["python", "examples/nothing.py"])
    assert pages.installs(["python3", "-m", "venv", ".venv"])
    assert not pages.installs(["purejaxvpg", "train"])


BLOCKS = """
```python
# mod_of_page.py
x = 1
```

```python
import mod_of_page
y = mod_of_page.x
```

```bash
echo $((40 + 2)) > answer
```

<!-- after the commands -->
```python
assert x == y == 1
open("seen", "x").close()
```

<!-- not run: it fails -->
```bash
false
```
"""


def test_pages_run_in_one_namespace_and_wait_for_their_commands(tmp_path, monkeypatch):
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text(BLOCKS)
    monkeypatch.setattr(pages, "DOCS", page.parent)
    for shell in (False, True):
        folder = tmp_path / str(shell)
        folder.mkdir()
        monkeypatch.chdir(folder)
        pages.run("page.md", folder, shell=shell)
        assert (folder / "mod_of_page.py").exists()
        assert (folder / "seen").exists() == (folder / "answer").exists() == shell
    page.write_text("---\nfile_format: mystnb\n---\n```python\n# a.py\n  1 +\n```")
    folder = tmp_path / "notebook"
    folder.mkdir()
    pages.run("page.md", folder, shell=False)
    assert not (folder / "a.py").exists()
    page.write_text("```bash\nfalse | true\n```")
    folder = tmp_path / "fails"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(AssertionError, match=r"page\.md:1 ended with 1"):
        pages.run("page.md", folder, shell=True)
