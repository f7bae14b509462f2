//! The rules that take all files of a crate to check: who uses whom, and which names stand where.
//!
//! An import leads to the file that defines the name, through however many re-exports; so a front door
//! (`mod.rs`) that only passes names on is in nobody's way. What methods a file calls is not seen, only which
//! types, functions and constants it names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::code::{self, Definition, Path, Reach};
use crate::rules::{CRATES, Crate, Fault, Source, Violation, modules};

/// Type names that a crate may have more than once: of each layer's errors and each command's arguments.
const TWINS: [&str; 2] = ["Error", "Args"];
/// Re-exports that may lead from one to the next.
const DEPTH_MAX: usize = 8;

/// One file, as the others see it.
struct File<'a> {
    path: &'a str,
    definitions: Vec<Definition>,
    paths: Vec<Path>,
}

/// The files of a crate by their modules, and what they import.
struct House<'a> {
    home: &'static Crate,
    files: BTreeMap<Vec<String>, File<'a>>,
    /// For each file, what an imported name stands for, from the root of the crate.
    imports: HashMap<Vec<String>, HashMap<String, Vec<String>>>,
}

/// The files that each file uses, with the line where it first does.
type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// Everything that is wrong with the crates as wholes. `sources` are compiled for all builds.
pub(crate) fn check_crates(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for home in &CRATES {
        let house = House::new(home, sources);
        let arrows = house.arrows();
        found.extend(circles(&arrows));
        found.extend(house.floors(&arrows));
        found.extend(house.twins());
    }
    found
}

impl<'a> House<'a> {
    fn new(home: &'static Crate, sources: &[Source<'a>]) -> Self {
        let files: BTreeMap<Vec<String>, File<'a>> = sources
            .iter()
            .filter_map(|source| {
                let inside = source.path.strip_prefix(home.folder)?;
                let tokens = code::without_tests(&code::tokens(source.text));
                let (definitions, paths) = (code::definitions(&tokens), code::paths(&tokens));
                let module = modules(inside).into_iter().map(str::to_owned).collect();
                Some((module, File { path: source.path, definitions, paths }))
            })
            .collect();
        let mut house = Self { home, files, imports: HashMap::new() };
        let all: Vec<_> = house.files.keys().cloned().collect();
        for module in all {
            let imports = house.imports_of(&module);
            house.imports.insert(module, imports);
        }
        house
    }

    fn imports_of(&self, module: &[String]) -> HashMap<String, Vec<String>> {
        let named = self.files[module].paths.iter().filter_map(|path| {
            let import = path.import.as_ref()?;
            Some((import.alias.clone(), self.rooted(module, &path.words)?))
        });
        let mut imports: HashMap<String, Vec<String>> = named.collect();
        // A path may begin with a module that was imported in the line before.
        let again: Vec<_> = self.files[module]
            .paths
            .iter()
            .filter_map(|path| {
                let import = path.import.as_ref()?;
                let base = imports.get(path.words.first()?)?;
                let words = [base, &path.words[1..]].concat();
                (path.words.len() > 1).then(|| (import.alias.clone(), words))
            })
            .collect();
        imports.extend(again);
        imports
    }

    /// A path as it is written in a module, from the root of the crate; `None` when it leads out of it.
    fn rooted(&self, module: &[String], words: &[String]) -> Option<Vec<String>> {
        let supers = words.iter().take_while(|word| *word == "super").count();
        match words.first()?.as_str() {
            "crate" => Some(words[1..].to_vec()),
            "self" => Some([module, &words[1..]].concat()),
            "super" => {
                let above = module.len().checked_sub(supers)?;
                Some([&module[..above], &words[supers..]].concat())
            }
            first => {
                let child = [module, &[first.to_owned()]].concat();
                self.files.contains_key(&child).then(|| [module, words].concat())
            }
        }
    }

    /// The module that defines what a path from the root leads to, and its name; no name for a module itself.
    fn definition(&self, words: &[String], depth: usize) -> Option<(&[String], Option<String>)> {
        let length = (0..=words.len()).rev().find(|it| self.files.contains_key(&words[..*it]))?;
        let (module, file) = self.files.get_key_value(&words[..length])?;
        let Some(name) = words.get(length) else { return Some((module, None)) };
        let is_here = file.definitions.iter().any(|it| it.name == *name && it.keyword != "mod");
        match self.imports.get(module).and_then(|imports| imports.get(name)) {
            Some(elsewhere) if !is_here && depth < DEPTH_MAX => {
                let words = [elsewhere, &words[length + 1..]].concat();
                self.definition(&words, depth + 1)
            }
            _ => Some((module, Some(name.clone()))),
        }
    }

    fn arrows(&self) -> Arrows<'a> {
        let mut arrows = Arrows::new();
        for (module, file) in &self.files {
            let targets = arrows.entry(file.path).or_default();
            for path in &file.paths {
                if path.import.as_ref().is_some_and(|import| import.reach == Reach::Public) {
                    continue;
                }
                let imported = || {
                    let base = self.imports[module].get(path.words.first()?)?;
                    Some([base, &path.words[1..]].concat())
                };
                let Some(words) = self.rooted(module, &path.words).or_else(imported) else {
                    continue;
                };
                if let Some((target, Some(_))) = self.definition(&words, 0)
                    && target != &module[..]
                {
                    targets.entry(self.files[target].path).or_insert(path.line);
                }
            }
        }
        arrows
    }

    /// Within a layer, what stands on which floor: nobody uses what stands above.
    fn floors(&self, arrows: &Arrows<'a>) -> Vec<Violation> {
        let mut found = Vec::new();
        for (layer, floors) in self.home.floors {
            let folder = format!("{}{layer}/", self.home.folder);
            let floor = |path: &str| {
                let inside = path.strip_prefix(&folder)?;
                let room = inside.split('/').next()?.trim_end_matches(".rs");
                (room != "mod")
                    .then(|| (floors.iter().position(|it| it.contains(&room)), room.to_owned()))
            };
            for (from, targets) in arrows {
                let Some((own, room)) = floor(from) else { continue };
                let Some(own) = own else {
                    found.push(Violation {
                        place: format!("{from}:1"),
                        fault: Fault::NoFloor(room),
                    });
                    continue;
                };
                let upward = targets.iter().filter(|(target, _)| {
                    floor(target).and_then(|(other, _)| other).is_some_and(|other| other > own)
                });
                found.extend(upward.map(|(target, line)| Violation {
                    place: format!("{from}:{line}"),
                    fault: Fault::AboveFloor((*target).to_owned()),
                }));
            }
        }
        found
    }

    /// Public types whose name another public type of the crate has, too.
    fn twins(&self) -> Vec<Violation> {
        let mut places: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
        for file in self.files.values() {
            for it in &file.definitions {
                let is_type =
                    matches!(it.keyword.as_str(), "struct" | "enum" | "trait" | "type" | "union");
                if is_type && it.reach == Reach::Public && !TWINS.contains(&it.name.as_str()) {
                    places.entry(&it.name).or_default().push((file.path, it.line));
                }
            }
        }
        let twins = places.into_iter().filter(|(_, places)| places.len() > 1);
        twins
            .map(|(name, places)| {
                let (path, line) = places[1];
                let fault = Fault::Twin(name.to_owned(), places[0].0.to_owned());
                Violation { place: format!("{path}:{line}"), fault }
            })
            .collect()
    }
}

/// Files that use each other, directly or around a corner; front doors name their rooms by their nature.
fn circles(arrows: &Arrows<'_>) -> Vec<Violation> {
    let is_door =
        |path: &str| ["/mod.rs", "/lib.rs", "/main.rs"].iter().any(|it| path.ends_with(it));
    let next = |path: &str| {
        let targets = arrows.get(path).into_iter().flat_map(|targets| targets.keys());
        targets.copied().filter(|target| !is_door(target)).collect::<Vec<_>>()
    };
    let reachable = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut open = next(from);
        while let Some(path) = open.pop() {
            if seen.insert(path) {
                open.extend(next(path));
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().filter(|path| !is_door(path)).map(|path| (*path, reachable(path))).collect();
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for (path, seen) in &reach {
        if seen.contains(path) && told.insert(*path) {
            let circle: Vec<String> = seen
                .iter()
                .filter(|other| reach.get(*other).is_some_and(|it| it.contains(path)))
                .map(|other| {
                    told.insert(other);
                    (*other).to_owned()
                })
                .collect();
            found.push(Violation { place: format!("{path}:1"), fault: Fault::Circle(circle) });
        }
    }
    found
}
