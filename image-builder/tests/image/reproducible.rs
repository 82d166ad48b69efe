//! Equal inputs, equal bytes.

use image_builder::build::build;
use image_builder::provenance::source_tree_id;

use crate::support::{TempDir, built, has_grub, options};

#[test]
fn another_directory_and_another_number_of_threads_give_the_same_bytes() {
    let name = "another_directory_and_another_number_of_threads_give_the_same_bytes";
    if !has_grub(name) {
        return;
    }
    let once = built("here", vec![7; 100_000], 1);
    let again = built(
        "a-directory-with-another-and-longer-name",
        vec![7; 100_000],
        5,
    );
    assert!(once == again);
}

#[test]
fn one_changed_byte_of_the_kernel_changes_the_image() {
    if !has_grub("one_changed_byte_of_the_kernel_changes_the_image") {
        return;
    }
    let mut kernel = vec![7; 100_000];
    let once = built("kernel-1", kernel.clone(), 2);
    kernel[50_000] = 8;
    assert!(once != built("kernel-2", kernel, 2));
}

#[test]
fn two_whole_builds_of_this_checkout_are_equal() {
    if !has_grub("two_whole_builds_of_this_checkout_are_equal") {
        return;
    }
    let sources = source_tree_id().unwrap();
    let [once, again] = ["whole-1", "whole-2"].map(|name| {
        let directory = TempDir::new(name);
        build(&options(directory.path())).unwrap()
    });
    // Somebody who edits the sources meanwhile changes the image, rightly.
    assert!(once == again || sources != source_tree_id().unwrap());
}

#[test]
fn a_program_that_was_not_compiled_is_named_with_its_path() {
    let directory = TempDir::new("missing");
    let options = options(directory.path());
    std::fs::remove_file(directory.path().join("connector")).unwrap();
    let error = build(&options).unwrap_err().to_string();
    assert!(error.contains("/connector is missing; compile"), "{error}");
    assert!(!options.out.exists());
}
