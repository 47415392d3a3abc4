plugin "terraform" {
  enabled = true
  preset  = "all"
}

# There is no main.tf: files are named for what is in them.
rule "terraform_standard_module_structure" {
  enabled = false
}
