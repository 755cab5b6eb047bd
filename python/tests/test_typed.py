"""The package is typed (py.typed) and documented: every function says what it takes and gives, what is public says what it is for."""
import ast
import os
import unittest

PACKAGE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "sluice"))


def sources():
    for folder, _, files in os.walk(PACKAGE):
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    yield os.path.relpath(path, PACKAGE), ast.parse(file.read())


def functions(tree, owner=None):
    """Every function with the class it is a method of."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node, owner
            yield from functions(node)
        else:
            yield from functions(node, node if isinstance(node, ast.ClassDef) else owner)


class Typed(unittest.TestCase):
    def test_every_function_is_annotated(self):
        missing = []
        for path, tree in sources():
            for node, owner in functions(tree):
                takes = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
                if owner is not None and takes and takes[0].arg in ("self", "cls"):
                    takes = takes[1:]
                if node.returns is None or any(argument.annotation is None for argument in takes):
                    missing.append(f"{path}:{node.lineno} {node.name}")
        self.assertEqual(missing, [])

    def test_what_is_public_is_documented(self):
        missing = []
        for path, tree in sources():
            if ast.get_docstring(tree) is None:
                missing.append(path)
            inside = {id(inner) for node, _ in functions(tree) for inner in ast.walk(node) if inner is not node}
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and id(node) not in inside and ast.get_docstring(node) is None:
                    missing.append(f"{path}:{node.lineno} class {node.name}")
            for node, owner in functions(tree):
                private = node.name.startswith("_") or (owner is not None and owner.name.startswith("_")) or id(node) in inside
                # A name that says it all: is_final, read_flow_run. What overrides is documented where it is declared.
                obvious = owner is not None and (node.name.startswith(("is_", "read_", "set", "get", "delete_")) or owner.bases)
                if not private and not obvious and ast.get_docstring(node) is None:
                    missing.append(f"{path}:{node.lineno} {node.name}")
        self.assertEqual(missing, [])
