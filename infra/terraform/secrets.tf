# The apps document. Terraform makes the place and never sees the content, which
# would lie in its state:
#   aws secretsmanager put-secret-value --secret-id ARN --secret-string file://apps.json
resource "aws_secretsmanager_secret" "apps" {
  name                    = "${var.name}/apps"
  description             = "Fleetwire's apps document: apps, plans, keys"
  recovery_window_in_days = 7
  kms_key_id              = var.kms_key_arn
  tags                    = var.tags
}

locals {
  # Reading a secret that is encrypted with a key of your own takes the right to
  # decrypt with that key. AWS's own key asks for none.
  decrypt_statement = var.kms_key_arn == null ? [] : [{
    Sid      = "Decrypt"
    Effect   = "Allow"
    Action   = "kms:Decrypt"
    Resource = var.kms_key_arn
  }]
}

# The Redis password lives in a secret of its own, because the provider hides
# secret_string wherever Terraform prints: plan, apply, and state lists. It draws
# no data source, whose id would be the password, and keeps no copy in a resource
# that prints its input.
resource "aws_secretsmanager_secret" "redis_password" {
  name                    = "${var.name}/redis-password"
  description             = "Fleetwire's Redis: the password alone. Nodes and functions read redis-url"
  recovery_window_in_days = 7
  kms_key_id              = var.kms_key_arn
  tags                    = var.tags
}

resource "terraform_data" "redis_password_version" {
  input = var.redis_password_version
}

resource "aws_secretsmanager_secret_version" "redis_password" {
  secret_id = aws_secretsmanager_secret.redis_password.id
  # 64 letters and digits of 244 random bits. The password stands in a URL, and
  # ElastiCache takes few punctuation marks.
  secret_string = "${replace(uuid(), "-", "")}${upper(replace(uuid(), "-", ""))}"

  lifecycle {
    # uuid() is another at every plan: only a new version draws a new password.
    ignore_changes       = [secret_string]
    replace_triggered_by = [terraform_data.redis_password_version]
    # The old password stays in the secret until Redis takes the new one.
    create_before_destroy = true
  }
}

resource "aws_secretsmanager_secret" "redis_url" {
  name                    = "${var.name}/redis-url"
  description             = "Fleetwire's Redis: URL with the password"
  recovery_window_in_days = 7
  kms_key_id              = var.kms_key_arn
  tags                    = var.tags
}

# From the replication group and not from the password alone: the secret changes
# only when Redis knows the password.
resource "aws_secretsmanager_secret_version" "redis_url" {
  secret_id     = aws_secretsmanager_secret.redis_url.id
  secret_string = "rediss://:${aws_secretsmanager_secret_version.redis_password.secret_string}@${local.redis_endpoint}:${local.redis_port}/0"
}
