#!/usr/bin/env python3
"""Writes control/src/schema/table.txt from a checkout of Kubernetes.

    python3 control/schema/generate.py PATH_TO_KUBERNETES [OUTPUT]

Reads api/openapi-spec/swagger.json (which types the API serves, what is required, list types),
staging/src/k8s.io/**/types*.go (JSON names, protobuf tags, pointers, patch strategies, defaults),
staging/src/k8s.io/**/generated.proto (to check the tags) and pkg/apis/*/types.go (the internal types,
as which errors print whole parts). Only facts are taken: no descriptions.
Whatever does not add up stops the run: the table is the only authority on types, so a wrong line
is worse than no table.
"""

import glob
import json
import os
import re
import sys

# Types that the swagger file leaves out and clients send or read nevertheless.
EXTRA = [
    "meta.v1.CreateOptions", "meta.v1.UpdateOptions", "meta.v1.PatchOptions", "meta.v1.GetOptions",
    "meta.v1.ListOptions", "meta.v1.PartialObjectMetadata", "meta.v1.PartialObjectMetadataList",
    "admission.v1.AdmissionReview",
]
# GVKs of types that the swagger file does not give one.
EXTRA_GVK = {
    "admission.v1.AdmissionReview": ["admission.k8s.io/v1/AdmissionReview"],
    "meta.v1.PartialObjectMetadata": ["meta.k8s.io/v1/PartialObjectMetadata"],
    "meta.v1.PartialObjectMetadataList": ["meta.k8s.io/v1/PartialObjectMetadataList"],
    "core.v1.List": ["/v1/List"],
}
OPTIONS = ["CreateOptions", "UpdateOptions", "PatchOptions", "GetOptions", "ListOptions"]
# Types with a form of their own in JSON or on the wire: the codec knows each.
SPECIAL = {
    "k8s.io/apimachinery/pkg/apis/meta/v1.Time": "time",
    "k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime": "microtime",
    "k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1": "fields",
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "quantity",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "intorstring",
    "k8s.io/apimachinery/pkg/runtime.RawExtension": "raw",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON": "json",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool": "schemaorbool",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray": "schemaorarray",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": "schemaorstrings",
}
# Packages outside the tables whose named types are plain.
FOREIGN = {"k8s.io/apimachinery/pkg/types.UID": "string", "k8s.io/apimachinery/pkg/types.NodeName": "string"}
BASIC = {"string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "float64": "double",
         "[]byte": "bytes"}
GO_OF_KIND = {"string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "double": "float64",
              "bytes": "[]uint8", "time": "v1.Time", "microtime": "v1.MicroTime", "fields": "v1.FieldsV1",
              "quantity": "resource.Quantity", "intorstring": "intstr.IntOrString",
              "raw": "runtime.RawExtension", "json": "v1.JSON", "schemaorbool": "v1.JSONSchemaPropsOrBool",
              "schemaorarray": "v1.JSONSchemaPropsOrArray", "schemaorstrings": "v1.JSONSchemaPropsOrStringArray"}

# Where the internal types of a package are, if not in pkg/apis/GROUP.
INTERNAL = {
    "apiextensions.v1": "staging/src/k8s.io/apiextensions-apiserver/pkg/apis/apiextensions",
    "apiregistration.v1": "staging/src/k8s.io/kube-aggregator/pkg/apis/apiregistration",
}
# Internal names of fields that are not the JSON names in another case.
INTERNAL_NAMES = {
    "CephMonitors": "monitors", "DataDiskURI": "diskURI", "DiscoveryCHAPAuth": "chapAuthDiscovery",
    "EndpointsName": "endpoints", "LastTerminationState": "lastState", "RBDImage": "image", "RBDPool": "pool",
    "RadosUser": "user", "Ref": "$ref", "ReportingController": "reportingComponent", "Result": "status",
    "Schema": "$schema", "SessionCHAPAuth": "chapAuthSession",
    "XEmbeddedResource": "x-kubernetes-embedded-resource", "XIntOrString": "x-kubernetes-int-or-string",
    "XListMapKeys": "x-kubernetes-list-map-keys", "XListType": "x-kubernetes-list-type",
    "XMapType": "x-kubernetes-map-type", "XPreserveUnknownFields": "x-kubernetes-preserve-unknown-fields",
    "XValidations": "x-kubernetes-validations",
}


def fail(message):
    sys.exit(f"generate.py: {message}")


class Package:
    """One Go package of API types."""

    def __init__(self, root, path, openapi, short):
        self.path, self.openapi, self.short = path, openapi, short
        self.structs, self.named, self.constants, self.go = {}, {}, {}, path.rsplit("/", 1)[1]
        self.proto = read_proto(f"{root}/staging/src/{path}/generated.proto")
        for file in sorted(glob.glob(f"{root}/staging/src/{path}/*.go")):
            base = os.path.basename(file)
            if not base.startswith("zz_") and not base.endswith("_test.go") and "generated" not in base:
                self.read(open(file, encoding="utf-8").read())

    def read(self, text):
        imports = dict(re.findall(r'^(?:import)?\s+(\w+) "([\w./-]+)"$', text, re.M))
        for path in re.findall(r'^\s+"([\w./-]+)"$', text, re.M):
            imports.setdefault(path.rsplit("/", 1)[-1], path)
        for name, value in re.findall(r'^\s+(\w+)\s+(?:\w+\s+)?= ("[^"]*")', text, re.M):
            self.constants[name] = value
        for match in re.finditer(r"^type (\w+) struct \{\n(.*?)^\}", text, re.M | re.S):
            self.structs[match[1]] = (match[2], imports)
        for name in re.findall(r"^type (\w+) struct ?\{\}$", text, re.M):
            self.structs[name] = ("", imports)
        for name, rest in re.findall(r"^type (\w+) (?!struct|interface|func|=)(\S.*)$", text, re.M):
            self.named[name] = (rest.strip(), imports)


def read_proto(path):
    """message → {field name: tag}."""
    messages = {}
    if not os.path.exists(path):
        return messages
    for match in re.finditer(r"^message (\w+) \{\n(.*?)^\}", open(path, encoding="utf-8").read(), re.M | re.S):
        fields = re.findall(r"^\s+(?:optional|repeated|required)?\s*(?:map<.*>|[.\w]+) (\w+) = (\d+)( \[.*\])?;", match[2], re.M)
        messages[match[1]] = {name: int(tag) for name, tag, _ in fields}
    return messages


class Generator:
    def __init__(self, root):
        self.root = root
        self.swagger = json.load(open(f"{root}/api/openapi-spec/swagger.json", encoding="utf-8"))["definitions"]
        self.packages = {}
        self.by_openapi = {}
        self.add("k8s.io/apimachinery/pkg/apis/meta/v1", "io.k8s.apimachinery.pkg.apis.meta.v1", "meta.v1")
        self.add("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
                 "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1", "apiextensions.v1")
        self.add("k8s.io/kube-aggregator/pkg/apis/apiregistration/v1",
                 "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1", "apiregistration.v1")
        for directory in sorted(glob.glob(f"{root}/staging/src/k8s.io/api/*/v[0-9]*")):
            group, version = directory.split("/")[-2:]
            if re.fullmatch(r"v\d+", version):
                self.add(f"k8s.io/api/{group}/{version}", f"io.k8s.api.{group}.{version}", f"{group}.{version}")
        self.types = {}
        # Types that only ever stand inline are not in the swagger file: their facts are the outer's.
        self.borrowed = {}
        self.group_versions = set()
        self.internals = {}

    def add(self, path, openapi, short):
        if os.path.isdir(f"{self.root}/staging/src/{path}"):
            package = Package(self.root, path, openapi, short)
            self.packages[path] = package
            self.by_openapi[openapi] = package

    # Go types

    def resolve(self, go, package, imports):
        """A Go type expression → (kind, Go's own spelling of the type, wrapped)."""
        if go.startswith("*"):
            return self.resolve(go[1:], package, imports)
        if go in BASIC:
            return BASIC[go], GO_OF_KIND[BASIC[go]], False
        if go.startswith("[]"):
            kind, name, wrapped = self.resolve(go[2:], package, imports)
            return f"[]{kind}", f"[]{star(go[2:])}{name}", wrapped
        if match := re.fullmatch(r"map\[([\w.]+)\](.+)", go):
            _, key, _ = self.resolve(match[1], package, imports)
            kind, name, wrapped = self.resolve(match[2], package, imports)
            return "{}" + kind, f"map[{key}]{star(match[2])}{name}", wrapped
        if "." in go:
            alias, name = go.split(".")
            path = imports.get(alias) or fail(f"{go}: unknown import in {package.path}")
        else:
            path, name = package.path, go
        full = f"{path}.{name}"
        if full in SPECIAL:
            return SPECIAL[full], GO_OF_KIND[SPECIAL[full]], False
        if full in FOREIGN:
            return FOREIGN[full], f"{path.rsplit('/', 1)[1]}.{name}", False
        home = self.packages.get(path) or fail(f"{go} in {package.path}: no package {path}")
        if name in home.structs:
            self.want(home, name)
            return f"{home.short}.{name}", f"{home.go}.{name}", False
        if name not in home.named:
            fail(f"{go} in {package.path}: no such type")
        under, under_imports = home.named[name]
        kind, _, _ = self.resolve(under, home, under_imports)
        # `type Verbs []string` is a message of its own with the list as field 1.
        wrapped = under.startswith("[]") and kind != "bytes"
        return kind, f"{home.go}.{name}", wrapped

    def want(self, package, name):
        key = f"{package.short}.{name}"
        if key not in self.types:
            self.types[key] = None
            self.types[key] = self.struct(package, name)

    def struct(self, package, name):
        body, imports = package.structs[name]
        own = self.swagger.get(f"{package.openapi}.{name}")
        definition = own or self.borrowed.get(f"{package.short}.{name}")
        fields, markers, is_object = [], [], False
        for line in re.sub(r"/\*.*?\*/", "", body, flags=re.S).splitlines():
            line = line.strip()
            if line.startswith("//"):
                markers.append(line[2:].strip())
                continue
            if not line:
                # Upstream's own reader of markers looks beyond one blank line; fields never do.
                markers = markers if markers and markers[-1].startswith("+") else []
                continue
            match = re.fullmatch(r"(?:(\w+)\s+)?(\S+)\s+`(.*)`(?:\s*//.*)?", line)
            if not match:
                fail(f"{package.path}.{name}: cannot read {line!r}")
            tags = dict(re.findall(r'(\w+):"([^"]*)"', match[3]))
            if "json" not in tags:
                fail(f"{package.path}.{name}: no JSON name in {line!r}")
            json_name, *options = tags["json"].split(",")
            if match[2].endswith("TypeMeta") and not match[1]:
                is_object = True
            elif json_name != "-":
                fields.append(self.field(package, name, imports, match[1], match[2], json_name, options, tags,
                                         markers, definition))
            markers = []
        if is_object:
            fields += ["apiVersion 0 string omit", "kind 0 string omit"]
        self.check_against_swagger(package, name, fields, own)
        return sorted(fields)

    def field(self, package, struct, imports, go_name, go, json_name, options, tags, markers, definition):
        if not go_name and not json_name and "." not in go:
            self.borrowed[f"{package.short}.{go}"] = definition
        kind, spelled, wrapped = self.resolve(go, package, imports)
        wire = tags.get("protobuf", "-")
        tag = 0 if wire == "-" else int(wire.split(",")[1])
        proto_name = next((part[5:] for part in wire.split(",") if part.startswith("name=")), json_name)
        if tag:
            self.check_tag(package, struct, proto_name or go, tag)
        if not go_name and not json_name:
            return f"{go[:1].lower()}{go[1:]} {tag} {kind} inline"
        out = [json_name, str(tag), kind]
        if go.startswith("*"):
            out.append("ptr")
        if "omitempty" in options or "omitzero" in options:
            out.append("omit")
        if "omitzero" in options:
            out.append("zero")
        prop = definition["properties"].get(json_name) if definition else None
        if definition and prop is None:
            fail(f"{package.short}.{struct}.{json_name} is not in the swagger file")
        if definition and json_name in definition.get("required", []):
            out.append("req")
        if not definition and "+required" in markers:
            out.append("req")
        if wrapped:
            out.append("wrapped")
        if spelled != self.default_go(kind):
            out.append(f"go={spelled}")
        extensions = prop or {}
        list_type = extensions.get("x-kubernetes-list-type")
        if list_type == "map":
            out.append("list=map:" + ",".join(extensions["x-kubernetes-list-map-keys"]))
        elif list_type:
            out.append(f"list={list_type}")
        if extensions.get("x-kubernetes-map-type"):
            out.append(f"map={extensions['x-kubernetes-map-type']}")
        for tag_name, extension, short in (("patchStrategy", "x-kubernetes-patch-strategy", "patch"),
                                           ("patchMergeKey", "x-kubernetes-patch-merge-key", "key")):
            # The server patches by the struct's tags; clients by what OpenAPI says.
            if definition and tags.get(tag_name) != extensions.get(extension):
                print(f"note: {package.short}.{struct}.{json_name}: {tag_name} {tags.get(tag_name)} "
                      f"but OpenAPI says {extensions.get(extension)}", file=sys.stderr)
            if tags.get(tag_name):
                out.append(f"{short}={tags[tag_name]}")
        default = next((m[len("+default="):] for m in markers if m.startswith("+default=")), None)
        if default:
            if match := re.fullmatch(r"ref\((\w+)\)", default):
                default = package.constants.get(match[1]) or fail(f"no constant {match[1]}")
            out.append("default=" + json.dumps(json.loads(default), separators=(",", ":")))
        return " ".join(out)

    def default_go(self, kind):
        if kind.startswith("[]"):
            return "[]" + self.default_go(kind[2:])
        if kind.startswith("{}"):
            return "map[string]" + self.default_go(kind[2:])
        if kind in GO_OF_KIND:
            return GO_OF_KIND[kind]
        short, name = kind.rsplit(".", 1)
        return f"{next(p.go for p in self.packages.values() if p.short == short)}.{name}"

    # Internal types

    def internal(self, short):
        """The fields of the internal type in Go's order: NAME[=JSON_NAME][~ZERO], `+` for metadata."""
        prefix, name = short.rsplit(".", 1)
        if prefix not in self.internals:
            self.internals[prefix] = read_internal(f"{self.root}/{INTERNAL.get(prefix, 'pkg/apis/' + prefix.split('.')[0])}")
        structs = self.internals[prefix]
        if prefix == "meta.v1" or name not in structs:
            return None
        known = self.flat(short)
        by_name = {json_name.lower(): json_name for json_name in known}
        words = []
        for go_name, go in internal_fields(structs, name):
            if not go_name:
                words += ["+"] if go.endswith("ObjectMeta") else []
                continue
            zero = "null" if go.startswith(("*", "[]", "map[")) else {"string": '""', "bool": "false"}.get(go, "0")
            json_name = by_name.get(go_name.lower()) or INTERNAL_NAMES.get(go_name)
            if json_name not in known:
                words.append(f"{go_name}~{zero}")
                continue
            word = go_name if json_name.lower() == go_name.lower() else f"{go_name}={json_name}"
            words.append(word if go.startswith("*") == ("ptr" in known[json_name]) else f"{word}~{zero}")
        return ",".join(words)

    def flat(self, short):
        """JSON name → the words of its line, inlined types pulled up."""
        out = {}
        for field in self.types[short]:
            words = field.split(" ")
            out.update(self.flat(words[2]) if words[-1] == "inline" else {words[0]: words})
        return out

    # Checks

    def check_tag(self, package, struct, proto_name, tag):
        message = package.proto.get(struct)
        if message is not None and tag not in message.values():
            fail(f"{package.short}.{struct}.{proto_name}: tag {tag} is not in generated.proto")

    def check_against_swagger(self, package, struct, fields, definition):
        message = package.proto.get(struct)
        if message is None:
            fail(f"{package.short}.{struct}: not in generated.proto")
        tags = {int(field.split(" ")[1]) for field in fields} - {0}
        if tags != set(message.values()):
            fail(f"{package.short}.{struct}: tags {sorted(tags)} but generated.proto has {sorted(message.values())}")
        if definition is None:
            return
        flat, inlined = set(), [f for f in fields if f.endswith(" inline")]
        for field in fields:
            if field not in inlined:
                flat.add(field.split(" ")[0])
        for field in inlined:
            flat |= self.names(field.split(" ")[2])
        if flat != set(definition.get("properties", {})):
            fail(f"{package.short}.{struct}: fields {sorted(flat ^ set(definition.get('properties', {})))} differ")

    def names(self, short):
        out = set()
        for field in self.types[short]:
            parts = field.split(" ")
            out |= self.names(parts[2]) if parts[-1] == "inline" else {parts[0]}
        return out

    # Output

    def collect(self):
        for openapi in sorted(self.swagger):
            prefix, name = openapi.rsplit(".", 1)
            package = self.by_openapi.get(prefix)
            if package and name in package.structs and f"{package.path}.{name}" not in SPECIAL:
                self.want(package, name)
                for gvk in self.swagger[openapi].get("x-kubernetes-group-version-kind", []):
                    if name not in ("DeleteOptions", "WatchEvent"):
                        self.group_versions.add((gvk["group"], gvk["version"]))
        for short in EXTRA:
            prefix, name = short.rsplit(".", 1)
            self.want(next(p for p in self.packages.values() if p.short == prefix), name)
        core = next(p for p in self.packages.values() if p.short == "core.v1")
        if "List" in core.named:
            # `v1.List` is an alias of metav1.List: objects of any kind.
            self.types["core.v1.List"] = ["apiVersion 0 string omit", "items 2 []raw req",
                                          "kind 0 string omit", "metadata 1 meta.v1.ListMeta omit"]

    def lines(self):
        yield "# Made by control/schema/generate.py: facts about upstream's types. Do not edit."
        yield "# package SHORT OPENAPI GO_PACKAGE"
        yield "# type NAME [gvk=GROUP/VERSION/KIND]… [required=FIELD,…] [union=DISCRIMINATOR;FIELD:WORD,…] [map=atomic] [internal=GO_NAME[=JSON_NAME][~ZERO],…]"
        yield "#   JSON_NAME TAG KIND [ptr] [omit] [zero] [req] [wrapped] [inline] [go=…] [list=…] [map=…] [patch=…] [key=…] [default=…]"
        used = {short.rsplit(".", 1)[0] for short in self.types}
        for package in sorted(self.packages.values(), key=lambda p: p.short):
            if package.short in used:
                yield f"package {package.short} {package.openapi} {package.go}"
        for short in sorted(self.types):
            prefix, name = short.rsplit(".", 1)
            package = next(p for p in self.packages.values() if p.short == prefix)
            definition = self.swagger.get(f"{package.openapi}.{name}", {})
            gvks = [f"{g['group']}/{g['version']}/{g['kind']}"
                    for g in definition.get("x-kubernetes-group-version-kind", [])
                    if re.fullmatch(r"v\d+", g["version"])]
            gvks += EXTRA_GVK.get(short, [])
            if prefix == "meta.v1" and name in OPTIONS:
                gvks += [f"{group}/{version}/{name}" for group, version in sorted(self.group_versions)]
            line = " ".join([f"type {short}"] + [f"gvk={gvk}" for gvk in gvks])
            required = definition.get("required", [])
            if required != sorted(required):
                line += f" required={','.join(required)}"
            for union in definition.get("x-kubernetes-unions", []):
                members = ",".join(f"{k}:{v}" for k, v in sorted(union["fields-to-discriminateBy"].items()))
                line += f" union={union.get('discriminator', '')};{members}"
            if definition.get("x-kubernetes-map-type"):
                line += f" map={definition['x-kubernetes-map-type']}"
            if internal := self.internal(short):
                line += f" internal={internal}"
            yield line
            for field in self.types[short]:
                yield f"  {field}"


def read_internal(directory):
    """Name → body of each struct."""
    structs = {}
    for file in sorted(glob.glob(f"{directory}/types*.go")):
        text = open(file, encoding="utf-8").read()
        structs.update(re.findall(r"^type (\w+) struct \{\n(.*?)^\}", text, re.M | re.S))
        structs.update((name, "") for name in re.findall(r"^type (\w+) struct ?\{\}$", text, re.M))
    return structs


def internal_fields(structs, name):
    """(name, type) of each field; those of embedded types stand in their place."""
    for line in re.sub(r"/\*.*?\*/", "", structs[name], flags=re.S).splitlines():
        line = re.sub(r"`.*`", "", line.split("//")[0]).strip()
        names, _, go = line.rpartition(" ") if "map[" not in line else line.partition(" ")
        if go in structs and not names:
            yield from internal_fields(structs, go)
        elif not names and go:
            yield "", go
        else:
            for go_name in names.split(",") if names else []:
                yield go_name.strip(), go.strip()


def star(go):
    return "*" if go.startswith("*") else ""


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    here = os.path.dirname(os.path.abspath(__file__))
    output = sys.argv[2] if len(sys.argv) == 3 else f"{here}/../src/schema/table.txt"
    generator = Generator(sys.argv[1])
    generator.collect()
    with open(output, "w", encoding="utf-8") as file:
        file.write("\n".join(generator.lines()) + "\n")


if __name__ == "__main__":
    main()
