//! What one file of Rust says that the rules ask for. Tests inside it (`#[cfg(test)]`, `#[test]`) are left out.

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, UseTree, Visibility, visit::Visit};

/// One file.
#[derive(Debug, Default)]
pub struct Facts {
    /// Its modules: first the file itself, then its inline modules.
    pub scopes: Vec<Scope>,
    /// The names that it defines.
    pub definitions: Vec<Definition>,
    /// Every string in it, with its line.
    pub strings: Vec<(usize, String)>,
    /// Every identifier in it, with its line.
    pub names: Vec<(usize, String)>,
}

/// A module: the file, or an inline module in it.
#[derive(Debug, Default)]
pub struct Scope {
    /// The names of the inline modules that lead to it.
    pub path: Vec<String>,
    /// `mod name;`, with the file that `#[path]` names.
    pub files: Vec<(String, Option<String>)>,
    /// The items that it defines, modules apart.
    pub items: Vec<String>,
    /// `use path as name`.
    pub imports: Vec<Import>,
    /// `use path::*`.
    pub globs: Vec<Vec<String>>,
    /// Each path that its code names.
    pub mentions: Vec<Mention>,
}

/// One name that a `use` brings.
#[derive(Debug)]
pub struct Import {
    /// The name that it has here.
    pub name: String,
    /// What it stands for.
    pub path: Vec<String>,
}

/// A path in the code.
#[derive(Debug)]
pub struct Mention {
    /// Its segments.
    pub path: Vec<String>,
    /// Where it stands.
    pub line: usize,
}

/// A name that is defined.
#[derive(Debug)]
pub struct Definition {
    /// The name.
    pub name: String,
    /// Where.
    pub line: usize,
    /// Whether it is a type: a struct, an enum, a trait, an alias.
    pub is_type: bool,
    /// Whether other modules see it.
    pub is_public: bool,
}

impl Facts {
    /// Reads a file.
    pub fn of(text: &str) -> syn::Result<Self> {
        let file = syn::parse_file(text)?;
        let mut reader = Reader { facts: Self { scopes: vec![Scope::default()], ..Self::default() }, scope: 0 };
        reader.visit_file(&file);
        Ok(reader.facts)
    }
}

struct Reader {
    facts: Facts,
    scope: usize,
}

impl Reader {
    fn scope(&mut self) -> &mut Scope {
        &mut self.facts.scopes[self.scope]
    }

    fn define(&mut self, ident: &syn::Ident, vis: &Visibility, is_type: bool) {
        let name = ident.to_string();
        self.scope().items.push(name.clone());
        let is_public = !matches!(vis, Visibility::Inherited);
        self.facts.definitions.push(Definition { name, line: ident.span().start().line, is_type, is_public });
    }

    /// A name that is defined below another: a method, a variant, a module.
    fn define_inside(&mut self, ident: &syn::Ident) {
        let (name, line) = (ident.to_string(), ident.span().start().line);
        self.facts.definitions.push(Definition { name, line, is_type: false, is_public: true });
    }

    fn import(&mut self, tree: &UseTree, before: &[String], line: usize) {
        let mut path = before.to_vec();
        if let UseTree::Path(syn::UsePath { ident, .. }) | UseTree::Name(syn::UseName { ident }) = tree {
            self.facts.names.push((line, ident.to_string()));
        }
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.import(&part.tree, &path, line);
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before, line)),
            UseTree::Glob(_) => self.scope().globs.push(path),
            UseTree::Name(name) if name.ident == "self" => {
                let name = path.last().cloned().unwrap_or_default();
                self.imported(name, path, line);
            }
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.imported(name.ident.to_string(), path, line);
            }
            UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    path.push(rename.ident.to_string());
                }
                self.imported(rename.rename.to_string(), path, line);
            }
        }
    }

    fn imported(&mut self, name: String, path: Vec<String>, line: usize) {
        self.scope().mentions.push(Mention { path: path.clone(), line });
        self.scope().imports.push(Import { name, path });
    }

    /// The paths in what a macro is given, for which `syn` has no grammar.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons, mut is_field) = (0, 0, false);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.mention(std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    self.facts.names.push((ident.span().start().line, ident.to_string()));
                    if !is_field {
                        path.push(ident.to_string());
                    }
                    (colons, is_field) = (0, false);
                }
                TokenTree::Punct(punct) => {
                    is_field = punct.as_char() == '.' && punct.spacing() == proc_macro2::Spacing::Alone;
                    colons = if punct.as_char() == ':' { colons + 1 } else { 0 };
                    if colons == 0 {
                        self.mention(std::mem::take(&mut path), line);
                    }
                }
                TokenTree::Group(group) => {
                    self.mention(std::mem::take(&mut path), line);
                    (colons, is_field) = (0, false);
                    self.tokens(group.stream());
                }
                TokenTree::Literal(literal) => {
                    self.mention(std::mem::take(&mut path), line);
                    (colons, is_field) = (0, false);
                    if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                        self.facts.strings.push((text.span().start().line, text.value()));
                    }
                }
            }
        }
        self.mention(path, line);
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        if !path.is_empty() {
            self.scope().mentions.push(Mention { path, line });
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            return;
        }
        match item {
            Item::Mod(module) => return self.visit_item_mod(module),
            Item::Use(item) => {
                if item.leading_colon.is_none() {
                    self.import(&item.tree, &[], item.use_token.span.start().line);
                }
                return;
            }
            Item::Struct(it) => self.define(&it.ident, &it.vis, true),
            Item::Enum(it) => self.define(&it.ident, &it.vis, true),
            Item::Union(it) => self.define(&it.ident, &it.vis, true),
            Item::Trait(it) => self.define(&it.ident, &it.vis, true),
            Item::Type(it) => self.define(&it.ident, &it.vis, true),
            Item::Fn(it) => self.define(&it.sig.ident, &it.vis, false),
            Item::Const(it) => self.define(&it.ident, &it.vis, false),
            Item::Static(it) => self.define(&it.ident, &it.vis, false),
            Item::Macro(it) => {
                if let Some(ident) = &it.ident {
                    self.define(ident, &Visibility::Inherited, false);
                }
            }
            _ => {}
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        self.define_inside(&module.ident);
        self.visit_ident(&module.ident);
        let Some((_, items)) = &module.content else {
            let path = module.attrs.iter().find(|attribute| attribute.path().is_ident("path")).and_then(value);
            self.scope().files.push((name, path));
            return;
        };
        let mut path = self.scope().path.clone();
        path.push(name);
        self.facts.scopes.push(Scope { path, ..Scope::default() });
        let outer = std::mem::replace(&mut self.scope, self.facts.scopes.len() - 1);
        for item in items {
            self.visit_item(item);
        }
        self.scope = outer;
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let (attributes, ident) = match item {
            syn::ImplItem::Fn(it) => (&it.attrs, Some(&it.sig.ident)),
            syn::ImplItem::Const(it) => (&it.attrs, Some(&it.ident)),
            syn::ImplItem::Type(it) => (&it.attrs, None),
            _ => return,
        };
        if !is_test(attributes) {
            if let Some(ident) = ident {
                self.define_inside(ident);
            }
            syn::visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.define_inside(&item.sig.ident);
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.define_inside(&variant.ident);
        syn::visit::visit_variant(self, variant);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
            self.mention(segments, line);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        self.visit_path(&it.path);
        self.tokens(it.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        if let syn::Meta::List(list) = &attribute.meta {
            // `#[serde(with = "crate::money")]` names a path in a string.
            let before = self.facts.strings.len();
            self.tokens(list.tokens.clone());
            let paths = self.facts.strings.split_off(before);
            for (line, text) in paths.into_iter().filter(|(_, text)| text.contains("::")) {
                self.mention(text.split("::").map(str::to_owned).collect(), line);
            }
        }
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.facts.strings.push((text.span().start().line, text.value()));
    }

    fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
        self.facts.names.push((ident.span().start().line, ident.to_string()));
    }
}

fn value(attribute: &Attribute) -> Option<String> {
    let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

/// Whether it is compiled for tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        syn::Meta::NameValue(_) => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}
