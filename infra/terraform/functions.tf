# The control plane: one Lambda function for each function of routes.tf.

resource "aws_cloudwatch_log_group" "function" {
  for_each          = local.function_names
  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

resource "aws_lambda_function" "this" {
  for_each      = local.function_names
  function_name = "${var.name}-${each.key}"
  description   = "Fleetwire: functions/${each.key}"
  role          = aws_iam_role.function[each.key].arn
  tags          = var.tags

  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.function_architecture]
  filename         = "${var.functions_dir}/${each.key}.zip"
  source_code_hash = filebase64sha256("${var.functions_dir}/${each.key}.zip")

  memory_size                    = var.function_memory
  timeout                        = lookup(local.timeouts, each.key, 10)
  reserved_concurrent_executions = coalesce(var.function_concurrency, -1)
  kms_key_arn                    = var.kms_key_arn

  # Where the secrets lie, not what they are: whoever may read the configuration
  # of a function reads its environment.
  environment {
    variables = {
      FLEETWIRE_APPS      = aws_secretsmanager_secret.apps.arn
      FLEETWIRE_REDIS_URL = aws_secretsmanager_secret.redis_url.arn
      # Read by nobody: a new password changes it, and so replaces every warm instance.
      FLEETWIRE_REDIS_URL_VERSION = aws_secretsmanager_secret_version.redis_url.version_id
    }
  }

  vpc_config {
    subnet_ids         = local.private_subnet_ids
    security_group_ids = [aws_security_group.this["functions"].id]
  }

  logging_config {
    log_format = "JSON"
    # Without a START, END and REPORT for each request, which cost more than it does.
    system_log_level = "WARN"
    log_group        = aws_cloudwatch_log_group.function[each.key].name
  }

  # Lambda makes the network interfaces with the role's permissions.
  depends_on = [aws_iam_role_policy.function]
}

resource "aws_lambda_permission" "alb" {
  for_each      = local.function_names
  statement_id  = "balancer"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this[each.key].function_name
  principal     = "elasticloadbalancing.amazonaws.com"
  source_arn    = aws_lb_target_group.function[each.key].arn
}

resource "aws_iam_role" "function" {
  for_each = local.function_names
  name     = "${var.name}-${each.key}-function"
  tags     = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

locals {
  # Lambda's documentation asks for every id of the account and region here.
  ec2_any = "arn:${local.partition}:ec2:${local.region}:${local.account}:*/*"

  network_actions = [
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
  ]
  # These know no resources: AWS takes "*" alone.
  network_describe_actions = [
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
  ]
}

resource "aws_iam_role_policy" "function" {
  for_each = local.function_names
  name     = "function"
  role     = aws_iam_role.function[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.function[each.key].arn}:*"
      },
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = [aws_secretsmanager_secret.apps.arn, aws_secretsmanager_secret.redis_url.arn]
      },
      {
        Sid      = "Network"
        Effect   = "Allow"
        Action   = local.network_actions
        Resource = local.ec2_any
      },
      {
        Sid      = "NetworkDescribe"
        Effect   = "Allow"
        Action   = local.network_describe_actions
        Resource = "*"
      },
      {
        # The network is for Lambda itself to make, not for the function's code.
        Sid       = "NetworkNotByCode"
        Effect    = "Deny"
        Action    = concat(local.network_actions, local.network_describe_actions)
        Resource  = "*"
        Condition = { ArnEquals = { "lambda:SourceFunctionArn" = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}-${each.key}" } }
      },
    ], local.decrypt_statement)
  })
}
