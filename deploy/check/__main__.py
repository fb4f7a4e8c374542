"""Check everything in deploy/ and say what was checked: `python -m deploy.check`."""

import sys
from collections.abc import Iterable

from deploy.check import compose, observability, serve_config
from deploy.check.files import DEPLOY, OVERLAYS, Invalid, documents
from deploy.check.pods import Manifest, pod_problems, pods_of, resource_problems
from deploy.check.queries import exported
from deploy.check.references import reference_problems
from deploy.check.render import render
from deploy.check.schemas import manifest_problems
from deploy.check.together import together_problems


def set_problems(manifests: list[Manifest]) -> list[str]:
    """Find problems of a set of manifests: first in each by itself, then between them."""
    found = [problem for manifest in manifests for problem in manifest_problems(manifest)]
    if found:
        return found
    for pod in pods_of(manifests):
        found += pod_problems(pod)
    for manifest in manifests:
        found += resource_problems(manifest)
    found += reference_problems(manifests)
    try:
        return found + list(together_problems(manifests))
    except (KeyError, ValueError) as error:
        return [*found, f"something that is looked for is missing: {error!r}"]


def main() -> int:
    """Check; return the exit status."""
    found: list[str] = []

    def checked(what: str, problems: Iterable[str]) -> None:
        these = list(problems)
        found.extend(these)
        print(f"{'FAIL' if these else 'ok':4}  {what}")
        for problem in these:
            print(f"      {problem}")

    try:
        for overlay in OVERLAYS:
            manifests = render(DEPLOY / "k8s" / "overlays" / overlay)
            kinds = ", ".join(sorted({m["kind"] for m in manifests}))
            what = f"k8s/overlays/{overlay}: {len(manifests)} manifests ({kinds})"
            checked(f"{what} against Kubernetes 1.34 and KubeRay 1.7", set_problems(manifests))
        (serve,) = documents(DEPLOY / "serve.yaml")
        checked("serve.yaml against Ray's models", serve_config.problems(serve, "serve.yaml"))
        (stack,) = documents(DEPLOY / "compose.yaml")
        count = len(stack["services"])
        checked(f"compose.yaml: {count} services", compose.problems(stack))
        for name, document in observability.everything().items():
            count = str(document).count("'expr'")
            queries = f": {count} queries among {len(exported())} series" if count else ""
            checked(name + queries, observability.problems(name, document))
    except Invalid as error:
        checked("reading", [str(error)])
    print(f"{len(found)} problems" if found else "everything in deploy/ holds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
