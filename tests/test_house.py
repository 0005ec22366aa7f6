"""Who may use whom: the rooms of the package in order, so that no arrow runs back up."""

import ast
from pathlib import Path

import pytest

import amago_jax

PACKAGE = Path(amago_jax.__file__).parent
GROUND = {
    "types",
    "axes",
    "draws",
    "errors",
    "kinds",
    "settings",
    "parallel",
    "tunable",
    "xla_flags",
}
# What each room may use besides the ground and itself.
ROOMS: dict[str, set[str]] = {
    "losses": set(),
    "models": set(),
    "hindsight": set(),
    "envs": {"hindsight.instructions"},
    "agents": {"losses", "models"},
    "acting": {"models", "agents", "envs"},
    "baselines": {"losses", "models", "agents", "envs", "acting"},
    "interop": {"models", "agents"},
    "learning": {"hindsight", "agents", "envs", "acting"},
    "reports": set(),
    "runs": {"agents", "envs", "acting", "baselines", "learning", "reports"},
    "measure": {"models", "envs", "acting", "learning", "runs"},
}
BELOW_RUNS = ("losses", "models", "hindsight", "envs", "agents", "acting", "baselines", "learning")
# What reads, writes or configures. Two environments read what their packages bring.
WORLD = {"hydra", "json", "logging", "matplotlib", "omegaconf", "orbax", "pathlib", "PIL", "rich"}
READERS = {"envs/meta/half_cheetah_velocity.py", "envs/adapters/xland_rulesets.py"}


def imports(path: Path) -> list[str]:
    """Return the modules a file imports, wherever in it; of a name, where it comes from."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            # `from amago_jax import envs` imports a room.
            whole = node.module == "amago_jax"
            found += [f"amago_jax.{a.name}" for a in node.names] if whole else [node.module]
    return found


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def test_every_file_is_in_a_room_or_the_ground():
    top = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert top == GROUND
    assert rooms == set(ROOMS)


def test_the_ground_uses_nothing_but_itself():
    for name in GROUND:
        for module in imports(PACKAGE / f"{name}.py"):
            room, _, rest = module.partition(".")
            assert room != "amago_jax" or rest in GROUND, f"{name} imports {module}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_only_what_is_below_it(room):
    allowed = {room, *GROUND, *ROOMS[room]}
    for path in files(room):
        for module in imports(path):
            package, _, name = module.partition(".")
            if package == "amago_jax":
                fits = any(name == other or name.startswith(f"{other}.") for other in allowed)
                assert fits, f"{path.relative_to(PACKAGE)} imports {module}"


def test_the_order_of_rooms_has_no_circle():
    above: list[str] = []
    for room, uses in ROOMS.items():
        assert {use.partition(".")[0] for use in uses} <= set(above), f"{room} is too early"
        above.append(room)


@pytest.mark.parametrize("room", BELOW_RUNS)
def test_nothing_below_runs_reads_or_writes(room):
    for path in files(room):
        name = path.relative_to(PACKAGE).as_posix()
        found = {module.partition(".")[0] for module in imports(path)} & WORLD
        assert not found or (found == {"pathlib"} and name in READERS), f"{name} imports {found}"


def test_every_package_says_what_it_is_and_what_is_public():
    for path in PACKAGE.rglob("__init__.py"):
        tree = ast.parse(path.read_text())
        name = path.relative_to(PACKAGE).as_posix()
        assert ast.get_docstring(tree), f"{name} has no docstring"
        assigned = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
        assert any(isinstance(x, ast.Name) and x.id == "__all__" for x in assigned), name


def test_files_and_functions_can_be_seen_whole():
    for path in PACKAGE.rglob("*.py"):
        text, name = path.read_text(), path.relative_to(PACKAGE).as_posix()
        assert len(text.splitlines()) <= 400, f"{name} has too many lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                described = first.end_lineno if ast.get_docstring(node) else node.lineno - 1
                assert described is not None
                assert node.end_lineno is not None
                lines = node.end_lineno - described
                assert lines <= 40, f"{name}: {node.name} has {lines} lines of code"
